"""One run at a time. The lock is the kernel's, and goes with its process, however that ends."""

import fcntl
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from defenses.retraining.schedule import stamp

_MOST = 500
"""Bytes that are read of who holds a lock."""


class LockedError(Exception):
    """Another run has the lock.

    Attributes:
        holder: which one, as far as it is known.
    """

    def __init__(self, path: Path, holder: str) -> None:
        super().__init__(f"{path} is locked by {holder}")
        self.holder = holder


@contextmanager
def locked(path: Path, run: str) -> Iterator[None]:
    """Holds the lock of a file, which is made if need be and stays. While it is held, the file says by whom.

    Args:
        path: of the file.
        run: what others are told is holding it; process, host and time are added.

    Raises:
        LockedError: another run has it.
        OSError: the file cannot be made, opened or written.
    """
    handle = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o644)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise LockedError(path, _holder(handle)) from None
        _write(handle, f"{run}, process {os.getpid()} on {socket.gethostname()}, since {stamp(time.time())}\n")
        try:
            yield
        finally:
            _write(handle, "")
    finally:
        os.close(handle)


def _write(handle: int, text: str) -> None:
    os.ftruncate(handle, 0)
    os.pwrite(handle, text.encode(), 0)


def _holder(handle: int) -> str:
    """Which run: empty for a moment, while it takes the lock."""
    text = os.pread(handle, _MOST, 0).decode(errors="replace").strip()
    return text if text and text.isprintable() else "another run"
