"""Has a file changed? A stat tells, so that looking every second or on every connection costs next to nothing."""

from pathlib import Path

Fingerprint = tuple[tuple[int, int, int] | None, ...]
"""Modification time in nanoseconds, size and inode of each file; None for one that is not there."""


def fingerprint(*paths: Path | None) -> Fingerprint:
    """What changes when one of the files is written, replaced, removed, or reached by another symbolic link.

    Args:
        paths: files; None stands for one that is not configured.
    """
    return tuple(None if path is None else _stat(path) for path in paths)


def _stat(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
