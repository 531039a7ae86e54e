"""The thread that writes captured calls, and the bounded queue before it."""

import logging
import threading
import time
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Protocol

from proxy.capture.files import NoRoomError, Outcome, RollingFiles, Rotation
from proxy.capture.record import RecordedCall, encoded
from proxy.capture.tfrecord import MAX_PAYLOAD
from proxy.capture.upload import Uploader
from proxy.config.capture import Capture
from proxy.logs import event

log = logging.getLogger("tensorwall.capture")

PAUSE = 1.0
"""Seconds after a failed write in which none is tried: a full disk takes no load from it."""
UPLOAD_SECONDS = 10.0
"""For the last files' upload when capture ends; what is left waits in the spool for the next start."""


class Told(Protocol):
    """What becomes of calls and files; called from several threads."""

    def written(self, model: str, rows: int, marked: bool, size: int) -> None: ...
    def dropped(self, model: str, reason: str) -> None: ...
    def filed(self, outcome: Outcome) -> None: ...
    def failing(self, failing: bool) -> None: ...
    def upload_failed(self) -> None: ...
    def kept(self, size: int) -> None: ...


class Writer:
    """Takes calls without ever waiting and writes them in a thread of its own.

    Args:
        settings: where to, and how much.
        told: of everything.
        clock: monotonic seconds.
        today: seconds since 1970.
    """

    def __init__(
        self,
        settings: Capture,
        told: Told,
        clock: Callable[[], float] = time.monotonic,
        today: Callable[[], float] = time.time,
    ) -> None:
        self._most = settings.queue_bytes
        self._told = told
        self._clock = clock
        self._queue: SimpleQueue[RecordedCall | None] = SimpleQueue()
        self._put = 0  # counted up by the event loop alone,
        self._taken = 0  # and this by the thread, so that neither needs a lock
        self._failed_at: float | None = None
        rotation = Rotation(settings.file_bytes, settings.file_seconds, settings.file_records, settings.disk_bytes)
        self._files = RollingFiles(settings.folder, rotation, self._filed, today)
        self._uploader = None if settings.url is None else Uploader(settings.folder, settings.url, told)
        self._thread = threading.Thread(target=self._run, name="tensorwall-capture", daemon=True)

    @property
    def queued_bytes(self) -> int:
        """Of calls that wait."""
        return self._put - self._taken

    @property
    def alive(self) -> bool:
        """Whether it still works off what it took."""
        return self._thread.is_alive()

    def start(self) -> None:
        """Starts the threads."""
        self._thread.start()
        if self._uploader is not None:
            self._uploader.start()

    def put(self, call: RecordedCall) -> None:
        """Takes a call, or drops it if too much waits already. Never waits."""
        size = _size(call)
        if size > MAX_PAYLOAD - 2**16:
            self._told.dropped(call.model, "size")
        elif self.queued_bytes + size > self._most:
            self._told.dropped(call.model, "queue")
        else:
            self._put += size
            self._queue.put(call)

    def finish(self) -> None:
        """Nothing is put any more: what waits is written, files are finished and uploaded, threads end. Never waits."""
        self._queue.put(None)

    def join(self, seconds: float) -> None:
        """Waits for the end, at most so long."""
        self._thread.join(seconds)

    def _run(self) -> None:
        self._trying(self._files.recover)
        while True:
            try:
                call = self._queue.get(timeout=self._patience())
            except Empty:
                self._trying(lambda: self._files.expire(self._clock()))
                continue
            if call is None:
                break
            self._taken += _size(call)
            try:
                self._write(call)
            except Exception:  # a call that cannot be written shall not end capture
                event(log, logging.ERROR, "capture failed", exc_info=True)
                self._told.dropped(call.model, "error")
        self._trying(self._files.close)
        if self._uploader is not None:
            self._uploader.finish(UPLOAD_SECONDS)

    def _patience(self) -> float | None:
        expiry = self._files.next_expiry
        if expiry is None:
            return None
        return max(PAUSE if self._failed_at is not None else 0.0, expiry - self._clock())

    def _write(self, call: RecordedCall) -> None:
        now = self._clock()
        if self._failed_at is not None and now - self._failed_at < PAUSE:
            self._told.dropped(call.model, "disk")
            return
        payload = encoded(call)
        try:
            self._files.write(call.model, payload, now)
        except NoRoomError:
            self._told.dropped(call.model, "room")
            self._trying(self._files.close)  # so that there is something that can go
        except OSError as error:
            self._told.dropped(call.model, "disk")
            self._failed(error)
        else:
            self._told.written(call.model, call.rows, bool(call.marks), len(payload))
            self._works()
            self._trying(lambda: self._files.expire(now))

    def _trying(self, work: Callable[[], None]) -> None:
        try:
            work()
        except OSError as error:
            self._failed(error)
        self._told.kept(self._files.size)

    def _failed(self, error: OSError) -> None:
        if self._failed_at is None:
            folder, problem = str(self._files.folder), error.strerror or str(error)
            event(log, logging.ERROR, "capture cannot write", folder=folder, problem=problem)
            self._told.failing(True)
        self._failed_at = self._clock()

    def _works(self) -> None:
        if self._failed_at is not None:
            event(log, logging.INFO, "capture writes again", folder=str(self._files.folder))
            self._told.failing(False)
            self._failed_at = None

    def _filed(self, outcome: Outcome) -> None:
        self._told.filed(outcome)
        if self._uploader is not None and outcome != "deleted":
            self._uploader.wake()


def _size(call: RecordedCall) -> int:
    return len(call.body) + len(call.reply)
