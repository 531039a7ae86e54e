"""The audit log's file: lines appended whole or not at all, files that follow each other, one chain through them."""

import contextlib
import fcntl
import json
import os
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from proxy.config.events import AuditLog
from proxy.events.chain import FIRST, MAX_LINE, files, kept_from, line_hash, older, parse

SYNC_SECONDS = 1.0


class LogError(Exception):
    """The log cannot be written now; `str()` is what the operator reads."""


class ChainedLog:
    """One log, for one thread. The file is opened with the first write, and again when somebody moved it away.

    Args:
        settings: file, sizes, syncing.
        clock: seconds since 1970.
        told: of the number and the hash of the last line, when a file begins or ends.

    Attributes:
        seq: number of the last line; 0 before the first.
        head: its hash.
    """

    def __init__(
        self, settings: AuditLog, clock: Callable[[], float], told: Callable[[int, str], None] = lambda *_: None
    ) -> None:
        self.seq = 0
        self.head = FIRST
        self._settings = settings
        self._clock = clock
        self._told = told
        self._file = -1
        self._began = 0.0
        self._synced = 0.0
        self._torn = 0
        self._kept = 1

    def write(self, contents: Sequence[dict[str, Any]], lost: int = 0) -> None:
        """Appends events, all or none.

        Args:
            contents: of the events.
            lost: events that were dropped before them.

        Raises:
            LogError: none was written; the chain goes on as if nothing had happened.
        """
        try:
            self._open()
            lines, seq, head = self._lines(contents, lost + self._torn)
            if self._due(sum(map(len, lines))):
                self._rotate()
                lines, seq, head = self._lines(contents, lost + self._torn)
            self._append(b"".join(lines))
        except OSError as error:
            raise LogError(f"{self._settings.path}: {error.strerror or error}") from None
        self.seq, self.head, self._torn = seq, head, 0
        if self._settings.fsync == "always":
            self.sync()

    def sync(self) -> None:
        """Forces what was written to the disk, if it is time.

        Raises:
            LogError: it could not be.
        """
        now = self._clock()
        rule = self._settings.fsync
        if self._file < 0 or rule == "never" or (rule == "second" and 0 <= now - self._synced < SYNC_SECONDS):
            return
        self._synced = now
        try:
            os.fsync(self._file)
        except OSError as error:
            raise LogError(f"{self._settings.path}: {error.strerror or error}") from None

    def close(self) -> None:
        """Ends it, with all on the disk."""
        if self._file >= 0:
            self._synced = float("-inf")
            try:
                self.sync()
            finally:
                self._told(self.seq, self.head)
                os.close(self._file)
                self._file = -1

    def _lines(self, contents: Sequence[dict[str, Any]], lost: int) -> tuple[list[bytes], int, str]:
        lines: list[bytes] = []
        seq, head = self.seq, self.head
        begins = {"kept": self._kept} if seq and not os.fstat(self._file).st_size else {}
        first = begins | ({"lost": lost} if lost else {})
        for content in contents:
            seq += 1
            before = {"seq": seq, "previous": head} | ({} if lines else first)
            line = json.dumps(before | content, separators=(",", ":")).encode()
            lines.append(line + b"\n")
            head = line_hash(line)
        return lines, seq, head

    def _append(self, raw: bytes) -> None:
        size = os.fstat(self._file).st_size
        try:
            left = memoryview(raw)
            while left:
                left = left[os.write(self._file, left) :]
        except OSError:
            os.ftruncate(self._file, size)
            raise

    def _open(self) -> None:
        path = self._settings.path
        if self._file >= 0:
            try:
                found = path.stat()
                own = os.fstat(self._file)
                if (found.st_dev, found.st_ino) == (own.st_dev, own.st_ino):
                    return
            except FileNotFoundError:
                pass
            self.close()
        new = not path.exists()
        file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise LogError(f"{path}: another process writes it; give each proxy a file of its own") from None
            if self.seq == 0:
                self._continue(file)
            self._began = self._first_time(file)
        except BaseException:
            os.close(file)
            raise
        self._file = file
        if new:
            _sync_folder(path.parent)
        self._told(self.seq, self.head)

    def _continue(self, file: int) -> None:
        """Takes the chain up where the last process left it; a line that it did not finish is cut off, and counted."""
        last, torn = _last_line(file, self._settings.path)
        if torn:
            os.ftruncate(file, os.fstat(file).st_size - torn)
            self._torn = 1
        if last is None:
            earlier = older(self._settings.path, 1)
            if earlier.is_file():
                with earlier.open("rb") as before:
                    last, _ = _last_line(before.fileno(), earlier)
                    self._kept = kept_from(_first_line(before.fileno()))
        else:
            self._kept = kept_from(_first_line(file))
        if last is not None:
            content = parse(last)
            self.seq, self.head = (content["seq"] if content is not None else 0), line_hash(last)

    def _first_time(self, file: int) -> float:
        try:
            return datetime.fromisoformat(str(_first_line(file)["time"])).timestamp()
        except (KeyError, ValueError):
            return self._clock()

    def _due(self, more: int) -> bool:
        size = os.fstat(self._file).st_size
        old = self._clock() - self._began >= self._settings.max_age
        return size > 0 and (old or size + more > self._settings.max_bytes)

    def _rotate(self) -> None:
        self.close()
        path = self._settings.path
        for oldest in files(path)[: -self._settings.keep]:
            self._throw_away(oldest)
        for number in range(self._settings.keep - 1, 0, -1):
            if older(path, number).exists():
                older(path, number).rename(older(path, number + 1))
        path.rename(older(path, 1))
        self._open()

    def _throw_away(self, path: Path) -> None:
        """Deletes the oldest file, and remembers from which line on the log is kept."""
        with path.open("rb") as file, contextlib.suppress(LogError):
            last, _ = _last_line(file.fileno(), path)
            content = parse(last or b"")
            if content is not None:
                self._kept = max(self._kept, content["seq"] + 1)
        path.unlink()


def _last_line(file: int, path: Path) -> tuple[bytes | None, int]:
    """The last whole line, and how many bytes of one that is not whole follow it."""
    size = os.fstat(file).st_size
    raw = os.pread(file, 2 * MAX_LINE, max(0, size - 2 * MAX_LINE))
    whole, newline, torn = raw.rpartition(b"\n")
    if not newline:
        if size > len(raw) or len(torn) > MAX_LINE:
            raise LogError(f"{path}: does not end with a line of an audit log; move it away, and a new one begins")
        return None, len(torn)
    return whole.rpartition(b"\n")[2], len(torn)


def _first_line(file: int) -> dict[str, Any]:
    return parse(os.pread(file, MAX_LINE, 0).partition(b"\n")[0]) or {}


def _sync_folder(path: Path) -> None:
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
