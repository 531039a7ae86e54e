"""Captured files read back: whatever paths name, all calls in the order of their times."""

import heapq
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any, BinaryIO, cast

from google.protobuf.message import DecodeError

from proxy.capture.files import SUFFIX, UNFINISHED
from proxy.capture.record import RecordedCall, decoded
from proxy.capture.tfrecord import FRAME, DamagedError, records


class SourceError(Exception):
    """A path cannot be read at all; `str()` is what the operator reads."""


@dataclass(frozen=True, slots=True)
class File:
    """One captured file.

    Attributes: name, as the operator knows it; size in bytes; open, gives its content.
    """

    name: str
    size: int
    open: Callable[[], BinaryIO]


class Source:
    """The calls in files, of all files together in the order of their times.

    A file is read up to where it is damaged. Files are opened when their time has come, so that any number of them may
    be given.

    Args:
        paths: files, folders with files in them at any depth, or URLs of either.

    Attributes:
        files: what is read.
        progressed: told of bytes that were read.
        problems: what could not be read, and where: one line each.
        foreign: records that tensorwall did not write: they say neither when a call came nor from whom.

    Raises:
        SourceError: a path names nothing that can be read.
    """

    def __init__(self, paths: Sequence[str]) -> None:
        self.files = [file for path in paths for file in _found(path)]
        self.problems: list[str] = []
        self.foreign = 0
        self.progressed: Callable[[int], object] = lambda _: None

    def __iter__(self) -> Iterator[RecordedCall]:
        self.problems, self.foreign = [], 0
        with ExitStack() as opened:
            yield from self._merged(opened)

    def _merged(self, opened: ExitStack) -> Iterator[RecordedCall]:
        begins = []
        for file in self.files:
            first = next(peek := self._calls(file, quiet=True), None)
            peek.close()
            begins.append((float("-inf") if first is None else first.time, file))
        later = sorted(begins, key=lambda each: each[0], reverse=True)
        turn = count()
        heap: list[tuple[float, int, RecordedCall, Generator[RecordedCall, None, None]]] = []
        while later or heap:
            if later and (not heap or later[-1][0] <= heap[0][0]):
                calls = self._calls(later.pop()[1])
                opened.callback(calls.close)
            else:
                _, _, call, calls = heapq.heappop(heap)
                yield call
            following = next(calls, None)
            if following is not None:
                heapq.heappush(heap, (following.time, next(turn), following, calls))

    def _calls(self, file: File, quiet: bool = False) -> Generator[RecordedCall, None, None]:
        taken = 0
        try:
            with file.open() as content:
                for offset, payload in records(content):
                    call = self._call(file, offset, payload, quiet)
                    if not quiet:
                        self.progressed(FRAME + len(payload))
                    if call is not None:
                        taken += 1
                        yield call
        except DamagedError as damage:
            self._trouble(quiet, f"{file.name}: {damage}; the {taken} calls before it are used")
        except Exception as error:  # whatever a store's client raises
            self._trouble(quiet, f"{file.name}: cannot be read: {error}; {taken} calls of it are used")

    def _call(self, file: File, offset: int, payload: bytes, quiet: bool) -> RecordedCall | None:
        try:
            call = decoded(payload)
        except DecodeError as error:
            self._trouble(quiet, f"{file.name}: the record at byte {offset} is no PredictionLog: {error}; left out")
            return None
        self.foreign += call is None and not quiet
        return call

    def _trouble(self, quiet: bool, problem: str) -> None:
        if not quiet:
            self.problems.append(problem)


def _found(path: str) -> list[File]:
    if "://" in path and not path.startswith("file://"):
        return _remote(path)
    place = Path(path.removeprefix("file://"))
    if place.is_dir():
        found = sorted(place.rglob(f"*{SUFFIX}"))
        if not found:
            raise SourceError(f"{path}: has no file of captured calls (*{SUFFIX})")
        return [_local(each) for each in found]
    if not place.is_file():
        raise SourceError(f"{path}: there is no such file or folder")
    return [_local(place)]


def _local(path: Path) -> File:
    return File(str(path), path.stat().st_size, lambda: path.open("rb"))


def _remote(url: str) -> list[File]:
    try:
        from fsspec.core import url_to_fs  # an extra

        store, root = url_to_fs(url)
        kinds: dict[str, dict[str, Any]] = store.find(root, detail=True)
    except ImportError as error:
        raise SourceError(f"{url}: cannot be read: {error}; pip install 'tensorwall[capture]'") from None
    except Exception as error:
        raise SourceError(f"{url}: cannot be read: {error}") from None
    protocol = url.partition("://")[0]
    found = [
        File(f"{protocol}://{name.lstrip('/')}", int(info.get("size") or 0), _opener(store, name))
        for name, info in sorted(kinds.items())
        if name.endswith((SUFFIX, SUFFIX + UNFINISHED)) or name.strip("/") == root.strip("/")
    ]
    if not found:
        raise SourceError(f"{url}: has no file of captured calls (*{SUFFIX})")
    return found


def _opener(store: Any, name: str) -> Callable[[], BinaryIO]:
    return lambda: cast(BinaryIO, store.open(name, "rb"))
