"""One whole run of the demo, whose kept model the other tests use."""

import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

DEMO = [sys.executable, "-m", "proxy", "demo", "--data", "digits"]


@dataclass(frozen=True)
class FirstRun:
    """A finished `tensorwall demo` that began with nothing kept.

    Attributes:
        cache: where it has kept its model.
        temporary: its folder for temporary files.
        done: exit code and output.
    """

    cache: Path
    temporary: Path
    done: subprocess.CompletedProcess[str]


@pytest.fixture(scope="session")
def first_run(tmp_path_factory: pytest.TempPathFactory) -> FirstRun:
    folder = tmp_path_factory.mktemp("demo")
    cache, temporary = folder / "cache", folder / "tmp"
    temporary.mkdir()
    environment = {**os.environ, "TMPDIR": str(temporary)}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # so that whatever it would leave is seen
    done = subprocess.run(
        [*DEMO, "--cache", str(cache)], env=environment, capture_output=True, text=True, timeout=110, check=False
    )
    return FirstRun(cache, temporary, done)


def alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and waits to be collected does not."""
    try:
        os.kill(pid, 0)
        return not Path("/proc/self").exists() or ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except (ProcessLookupError, FileNotFoundError):
        return False


def gone(pid: int, seconds: float = 10.0) -> bool:
    """Whether a process has ended, now or within a while."""
    deadline = time.monotonic() + seconds
    while alive(pid) and time.monotonic() < deadline:
        time.sleep(0.01)
    return not alive(pid)
