"""One run at a time. The lock is the kernel's, and goes with its process, however that ends."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class LockedError(Exception):
    """Another run has the lock."""


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Holds the lock of a file, which is made if need be and stays.

    Raises:
        LockedError: another run has it.
        OSError: the file cannot be made or opened.
    """
    handle = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o644)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise LockedError(f"{path} is locked by another run") from None
        yield
    finally:
        os.close(handle)
