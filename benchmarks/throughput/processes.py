"""Processes of a contender: started so that they end with this one, and what they cost, from /proc. Linux only."""

import contextlib
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

_START_SECONDS = 30.0


def found_program(name: str) -> str | None:
    """The path of a program of this environment or of the system."""
    return shutil.which(name, path=f"{Path(sys.executable).parent}:{os.environ.get('PATH', os.defpath)}")


@contextlib.contextmanager
def child(command: list[str], log: Path, port: int | None = None) -> Iterator[tuple[int, int]]:
    """The port that a command listens on, and its process; it is ended with the block, and with this process.

    Args:
        command: takes the port as its last argument, unless that is given.
        log: file for what it prints.
        port: that it knows to listen on.

    Raises:
        RuntimeError: it does not listen.
    """
    listening = port or free_port()
    last = [] if port else [str(listening)]
    leash = [sys.executable, "-P", "-m", "proxy.leash", str(os.getpid())]
    with log.open("wb") as output:
        process = subprocess.Popen([*leash, *command, *last], stdout=output, stderr=output)
    try:
        _until_listening(listening, process, log)
        yield listening, process.pid
    finally:
        process.terminate()
        process.wait()


def free_port() -> int:
    """A port of the loopback interface that nobody listens on now."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def _until_listening(port: int, process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)
    raise RuntimeError(f"{process.args!r:.300} does not listen on port {port}: {log.read_text()}")


def family(pid: int) -> list[int]:
    """A process and all that it started, directly or not."""
    children: dict[int, list[int]] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            stat = _read(folder / "stat").rpartition(")")[2].split()
            if stat:
                children.setdefault(int(stat[1]), []).append(int(folder.name))
    found = [pid]
    for each in found:
        found += children.get(each, [])
    return found


def cpu_seconds(pids: list[int]) -> float:
    """User and system seconds so far of all threads (proc(5), schedstat: nanoseconds on a processor)."""
    return sum(_seconds(task) for pid in pids for task in Path(f"/proc/{pid}/task").iterdir())


def thread_seconds(pid: int) -> float:
    """The same of a process's first thread."""
    return _seconds(Path(f"/proc/{pid}/task/{pid}"))


def memory_bytes(pids: list[int]) -> int:
    """Resident memory, pages that several processes share counted once (proportional set size)."""
    found = (re.search(r"^Pss:\s+(\d+)", _read(Path(f"/proc/{pid}/smaps_rollup")), re.MULTILINE) for pid in pids)
    return 1024 * sum(int(each[1]) for each in found if each is not None)


def _seconds(task: Path) -> float:
    return int((_read(task / "schedstat") or "0").split()[0]) / 1e9


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:  # it ended meanwhile
        return ""
