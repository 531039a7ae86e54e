"""Memory of a process, by /proc; 0 is this one."""

import ctypes
import os
from pathlib import Path

PAGE = os.sysconf("SC_PAGE_SIZE")
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3


def give_back() -> None:
    """Lets this process give large blocks back to the system at once, so that the next ones show as growth again."""
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        libc.mallopt(_M_MMAP_THRESHOLD, 64 * 2**10)
        libc.mallopt(_M_TRIM_THRESHOLD, 64 * 2**10)


GIVE_BACK = {"MALLOC_MMAP_THRESHOLD_": str(64 * 2**10), "MALLOC_TRIM_THRESHOLD_": str(64 * 2**10)}
"""The same in the environment of another process."""


def resident_bytes(pid: int) -> int:
    """What the process holds now."""
    return int((_of(pid) / "statm").read_text().split()[1]) * PAGE


def forget_peak(pid: int) -> None:
    """Begins anew with the peak (proc_pid_clear_refs(5))."""
    (_of(pid) / "clear_refs").write_text("5")


def peak_bytes(pid: int) -> int:
    """The most that the process has held since `forget_peak`."""
    status = (_of(pid) / "status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


def _of(pid: int) -> Path:
    return Path("/proc") / (str(pid) if pid else "self")
