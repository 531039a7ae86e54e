"""The lines of an audit log as they are written, across the files that take each other's place."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from proxy.events.chain import MAX_LINE, files, parse


def lines(path: Path) -> Iterator[dict[str, Any] | None]:
    """What a log's file holds, line by line, and None whenever there is no more for now; then what comes.

    Args:
        path: of the file that is written.

    Raises:
        OSError: it cannot be read.
    """
    file: BinaryIO = path.open("rb")
    last, doubted = 0, -1.0
    try:
        while True:
            moved = _moved(path, file)  # asked before reading: whoever moved it had written all
            for content in _whole(file):
                last = content["seq"]
                yield content
            found = _successor(path, last) if moved else None
            if found is None or found[0] not in (last + 1, doubted):
                doubted = -1.0 if found is None else found[0]  # files are being moved, or lines are missing: look again
                yield None
                continue
            file.close()
            file, doubted = found[1], -1.0
    finally:
        file.close()


def _moved(path: Path, file: BinaryIO) -> bool:
    try:
        found, own = path.stat(), os.fstat(file.fileno())
    except FileNotFoundError:
        return False  # the next one will be there in a moment
    if own.st_size < file.tell():
        file.seek(0)  # somebody emptied it
    return (found.st_dev, found.st_ino) != (own.st_dev, own.st_ino)


def _whole(file: BinaryIO) -> Iterator[dict[str, Any]]:
    """Lines up to the end; one that is only half there is read again later."""
    while True:
        start = file.tell()
        raw = file.readline(MAX_LINE)
        if not raw.endswith(b"\n") and len(raw) < MAX_LINE:
            file.seek(start)
            return
        content = parse(raw)
        if content is not None:
            yield content


def _successor(path: Path, last: int) -> tuple[float, BinaryIO] | None:
    """With which line the file begins that goes on after the last one read, and that file; else the one written."""
    found: tuple[float, BinaryIO] | None = None
    for each in files(path):
        try:
            file: BinaryIO = each.open("rb")
        except FileNotFoundError:
            continue
        content = parse(file.readline(MAX_LINE))
        file.seek(0)
        number = float("inf") if content is None else float(content["seq"])
        later = number > last and (found is None or number < found[0])
        if later or (found is None and each == path):
            found = number, file
    return found
