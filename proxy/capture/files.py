"""Rolling files in a folder: one open file a model, finished atomically, bounded together.

    FOLDER/MODEL/20261126T194502.123456-9f3a61c2.tfrecord              finished
    FOLDER/MODEL/20261126T194502.123456-9f3a61c2.tfrecord.unfinished   being written

Who writes a file holds a lock on it (flock), so that whoever starts next knows which unfinished files nobody writes any
more. Of those it keeps the intact records.
"""

import contextlib
import fcntl
import hashlib
import os
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal
from urllib.parse import quote

from proxy.capture.tfrecord import FRAME, DamagedError, framed, records

SUFFIX = ".tfrecord"
UNFINISHED = ".unfinished"
_LONGEST_NAME = 200

Outcome = Literal["finished", "recovered", "deleted", "uploaded"]


class NoRoomError(Exception):
    """The bound of all files is reached, and there is no finished file that could go."""


@dataclass(frozen=True, slots=True)
class Rotation:
    """When a file is finished, and how much all of them may take.

    Attributes: file_bytes, file_seconds, file_records (None: any number), disk_bytes.
    """

    file_bytes: int
    file_seconds: float
    file_records: int | None
    disk_bytes: int


@dataclass(slots=True)
class _Open:
    path: Path
    descriptor: int
    until: float
    size: int = 0
    records: int = 0


class RollingFiles:
    """Writes records to files. For one thread; other processes may write to the same folder.

    Args:
        folder: made if it is not there, for its owner alone, as are all files.
        rotation: when files are finished and go.
        told: of each file that was finished, recovered or deleted.
        today: seconds since 1970, for names.
    """

    def __init__(
        self, folder: Path, rotation: Rotation, told: Callable[[Outcome], None], today: Callable[[], float]
    ) -> None:
        self.folder = folder
        self._rotation = rotation
        self._told = told
        self._today = today
        self._open: dict[str, _Open] = {}
        self._finished: dict[Path, int] = {}

    @property
    def size(self) -> int:
        """Bytes of all files, as far as this process knows."""
        return sum(self._finished.values()) + sum(each.size for each in self._open.values())

    @property
    def next_expiry(self) -> float | None:
        """When the next file is too old; None if none is open."""
        return min((each.until for each in self._open.values()), default=None)

    def recover(self) -> None:
        """Finishes what an earlier process left unfinished, and looks at what is there.

        Raises:
            OSError: the folder cannot be used.
        """
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for path in sorted(self.folder.glob(f"*/*{SUFFIX}{UNFINISHED}")):
            with contextlib.suppress(FileNotFoundError):  # another process was quicker
                self._recover(path)
        self._look()

    def write(self, model: str, payload: bytes, now: float) -> None:
        """Writes one record, whole or not at all. A file that is full then is one that `expire` finishes.

        Args:
            model: whose it is.
            payload: of the record.
            now: monotonic seconds.

        Raises:
            OSError: it cannot be written now.
            NoRoomError: the bound is reached.
        """
        self._make_room(FRAME + len(payload))
        file = self._open.get(model)
        if file is None:
            file = self._open[model] = self._create(model, now)
        try:
            _write(file.descriptor, framed(payload))
        except OSError:
            os.ftruncate(file.descriptor, file.size)
            os.lseek(file.descriptor, file.size, os.SEEK_SET)
            raise
        file.size += FRAME + len(payload)
        file.records += 1
        if file.size >= self._rotation.file_bytes or file.records == self._rotation.file_records:
            file.until = now

    def expire(self, now: float) -> None:
        """Finishes files that are full or old enough.

        Raises:
            OSError: one cannot be finished now; it is tried again.
        """
        for model in [model for model, file in self._open.items() if file.until <= now]:
            self._finish(model)

    def close(self) -> None:
        """Finishes all files.

        Raises:
            OSError: one could not be finished; the next start does it.
        """
        for model in tuple(self._open):
            self._finish(model)

    def _create(self, model: str, now: float) -> _Open:
        folder = self.folder / _name(model)
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        while True:
            name = f"{datetime.fromtimestamp(self._today(), UTC):%Y%m%dT%H%M%S.%f}-{secrets.token_hex(4)}"
            path = folder / f"{name}{SUFFIX}{UNFINISHED}"
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            if _is_at(descriptor, path):  # else somebody who started just now took it for abandoned
                return _Open(path, descriptor, now + self._rotation.file_seconds)
            os.close(descriptor)

    def _finish(self, model: str) -> None:
        file = self._open[model]
        if file.records:
            self._finished[_finished(file.path, file.descriptor)] = file.size
            self._told("finished")
        else:
            file.path.unlink(missing_ok=True)
        del self._open[model]
        os.close(file.descriptor)

    def _recover(self, path: Path) -> None:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:  # a living process writes it
            os.close(descriptor)
            return
        try:
            whole = _intact(path)
            if not whole:
                path.unlink()
                return
            os.ftruncate(descriptor, whole)
            _finished(path, descriptor)
            self._told("recovered")
        finally:
            os.close(descriptor)

    def _make_room(self, need: int) -> None:
        bound = self._rotation.disk_bytes
        if self.size + need <= bound:
            return
        self._look()  # others may have written, uploaded or deleted
        oldest = sorted(self._finished, key=lambda path: path.name, reverse=True)
        while self.size + need > bound:
            if not oldest:
                raise NoRoomError
            path = oldest.pop()
            del self._finished[path]
            with contextlib.suppress(FileNotFoundError):
                path.unlink()
                self._told("deleted")

    def _look(self) -> None:
        self._finished = dict(sizes(self.folder))


def sizes(folder: Path) -> Iterator[tuple[Path, int]]:
    """The finished files, and their sizes."""
    for path in folder.glob(f"*/*{SUFFIX}"):
        with contextlib.suppress(FileNotFoundError):
            yield path, path.stat().st_size


def _name(model: str) -> str:
    """A model's name as that of a folder; names are free, and those of folders are not."""
    name = quote(model, safe="")
    if name.startswith("."):
        name = "%2E" + name[1:]
    return name if len(name) <= _LONGEST_NAME else name[: _LONGEST_NAME - 9].rstrip("%") + f"-{_digest(model)}"


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=4).hexdigest()


def _write(descriptor: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def _finished(path: Path, descriptor: int) -> Path:
    """Makes an unfinished file a finished one that outlives a power cut."""
    os.fsync(descriptor)
    final = path.with_suffix("")
    path.rename(final)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
    return final


def _intact(path: Path) -> int:
    """Bytes of the whole records at a file's beginning."""
    end = 0
    with path.open("rb") as file, contextlib.suppress(DamagedError):
        for offset, payload in records(file):
            end = offset + FRAME + len(payload)
    return end


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        there = path.stat()
    except FileNotFoundError:
        return False
    own = os.fstat(descriptor)
    return (own.st_dev, own.st_ino) == (there.st_dev, there.st_ino)
