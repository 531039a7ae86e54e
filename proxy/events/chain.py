"""The hash chain of the audit log: each line carries the SHA-256 of the line before, across files and restarts.

Whoever changes, removes or adds a line breaks the chain at the next one. The first line of each later file says from
which line on the log is kept, so that files which the log did not throw away itself are missed. Whoever can rewrite all
lines from one on can mend the chain, and an end that is cut off leaves no trace. So the proxy also writes the head of
the chain to its own log whenever a file begins or ends, and `anchors` are hashes from there that have to be met.
"""

import hashlib
import json
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count, takewhile
from pathlib import Path
from typing import Any

FIRST = "0" * 64
"""What the very first line has for a predecessor's hash."""
MAX_LINE = 2**20


def line_hash(line: bytes) -> str:
    """Of a line without its newline."""
    return hashlib.sha256(line).hexdigest()


@dataclass(slots=True)
class Checked:
    """What a check found.

    Attributes:
        lines: that were read.
        first, last: numbers of the first and the last line.
        kept: number of the oldest line that should be there, as the log says; 0 if its beginning is an anchor.
        head: hash of the last line.
        lost: events that the log itself says are missing: the disk was full, or the queue.
        problems: in the order of the files, each with its place.
    """

    lines: int = 0
    first: int = 0
    last: int = 0
    kept: int = 1
    head: str = FIRST
    lost: int = 0
    problems: list[str] = field(default_factory=list)


def check(paths: Sequence[Path], anchors: Collection[str] = ()) -> Checked:
    """Follows the chain through files, whatever order they are given in.

    Args:
        paths: files of one log.
        anchors: hashes that have to be met.

    Raises:
        OSError: a file cannot be read.
    """
    found, missing = Checked(), set(anchors)
    for path in sorted(paths, key=_first_number):
        for number, line in enumerate(_lines(path), 1):
            _next(found, f"{path}:{number}", line, missing)
            missing.discard(found.head)
    if 0 < found.kept < found.first:
        found.problems.append(f"lines {found.kept} to {found.first - 1} are missing, which the log has not thrown away")
    found.problems += [f"no line has the hash {each}: lines were changed, or cut off at the end" for each in missing]
    return found


def _next(found: Checked, where: str, raw: bytes, missing: set[str]) -> None:
    content = parse(raw)
    if content is None:
        found.problems.append(f"{where}: is no line of an audit log: it was changed, or written by somebody else")
    else:
        seq, previous = content["seq"], content["previous"]
        if not found.lines:
            found.first = seq
            if seq > 1 and previous in missing:
                found.kept = 0
                missing.discard(previous)
            if seq == 1 and previous != FIRST:
                found.problems.append(f"{where}: says that it is the first, yet another came before it")
        elif previous != found.head:
            gap = "" if seq == found.last + 1 else f"; lines {found.last + 1} to {seq - 1} are missing"
            found.problems.append(f"{where}: the line before it is not the one that was there when it was written{gap}")
        elif seq != found.last + 1:
            found.problems.append(f"{where}: is number {seq}, and {found.last + 1} would follow")
        found.last = seq
        found.kept = max(found.kept, kept_from(content)) if found.kept else 0
        found.lost += content.get("lost") or 0
    found.lines += 1
    found.head = line_hash(raw)


def parse(raw: bytes) -> dict[str, Any] | None:
    """A line's content; None if it is none."""
    try:
        content = json.loads(raw)
    except (ValueError, RecursionError):
        return None
    if not isinstance(content, dict):
        return None
    whole = isinstance(content.get("seq"), int) and isinstance(content.get("previous"), str)
    return content if whole else None


def kept_from(content: dict[str, Any]) -> int:
    """From which line on the log was kept when a line was written; 1 if it does not say."""
    kept = content.get("kept")
    return kept if isinstance(kept, int) else 1


def older(path: Path, number: int) -> Path:
    """Of a log's files before the one that is written, the latest being 1."""
    return path.with_name(f"{path.name}.{number}")


def files(path: Path) -> list[Path]:
    """A log's files that are there, the oldest first."""
    before = takewhile(Path.exists, (older(path, number) for number in count(1)))
    return [*before][::-1] + [path] * path.exists()


def _lines(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while line := file.readline(MAX_LINE):
            yield line.removesuffix(b"\n")


def _first_number(path: Path) -> float:
    """Of a file's first line; infinite if it has none."""
    content = next((found for line in _lines(path) if (found := parse(line)) is not None), None)
    return float("inf") if content is None else float(content["seq"])
