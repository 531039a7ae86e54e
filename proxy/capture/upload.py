"""From the spool to an object store: finished files, oldest first, tried until they are there."""

import contextlib
import logging
import random
import threading
from pathlib import Path
from typing import Any, Protocol

from proxy.capture.files import Outcome, sizes
from proxy.logs import event

log = logging.getLogger("tensorwall.capture")

FIRST_WAIT = 1.0
LONGEST_WAIT = 300.0


class Told(Protocol):
    """What becomes of files."""

    def filed(self, outcome: Outcome) -> None: ...
    def upload_failed(self) -> None: ...


class Uploader:
    """Uploads what is finished in a folder, and then deletes it there.

    A store that is away keeps files in the spool, within the spool's own bound: then the oldest go. An object is
    whole or not there at all, as far as the store makes it so; a second upload of the same file writes the same object.

    Args:
        spool: the folder.
        url: where its files go, below the same folder of a model.
        told: of each file uploaded and each try that failed.
        rng: jitter of the waits.
    """

    def __init__(self, spool: Path, url: str, told: Told, rng: random.Random | None = None) -> None:
        self._spool = spool
        self._url = url
        self._told = told
        self._rng = rng or random.Random()  # noqa: S311  # jitter, not secrets
        self._woken = threading.Event()
        self._ending = False
        self._wait: float | None = None
        self._thread = threading.Thread(target=self._run, name="tensorwall-upload", daemon=True)

    def start(self) -> None:
        """Starts the thread; what an earlier process left goes first."""
        self._woken.set()
        self._thread.start()

    def wake(self) -> None:
        """There is a new file."""
        if self._wait is None:  # else the store is away, and each new file would hurry it
            self._woken.set()

    def finish(self, seconds: float) -> None:
        """One last try, that takes no longer than this."""
        self._ending = True
        self._woken.set()
        self._thread.join(seconds)

    def upload(self) -> None:
        """Uploads all that is there.

        Raises:
            Exception: whatever the store's client raises.
        """
        from fsspec.core import url_to_fs  # an extra

        store, root = url_to_fs(self._url)
        for path, _ in sorted(sizes(self._spool), key=lambda found: found[0].name):
            with contextlib.suppress(FileNotFoundError):  # it went, to keep the spool's bound
                self._one(store, root, path)

    def _one(self, store: Any, root: str, path: Path) -> None:
        folder = f"{root.rstrip('/')}/{path.parent.name}"
        store.makedirs(folder, exist_ok=True)
        with path.open("rb"):  # so that a missing file is told apart from a missing bucket
            pass
        try:
            store.put_file(str(path), f"{folder}/{path.name}")
        except FileNotFoundError as error:
            raise OSError(f"the store says not found: {error}") from error
        path.unlink(missing_ok=True)
        self._told.filed("uploaded")

    def _run(self) -> None:
        while True:
            self._woken.wait(self._wait)
            self._woken.clear()
            ending = self._ending
            try:
                self.upload()
            except Exception as error:
                self._failed(error)
            else:
                self._works()
            if ending:
                return

    def _failed(self, error: Exception) -> None:
        self._told.upload_failed()
        if self._wait is None:
            event(log, logging.ERROR, "upload failed, it is tried again", problem=repr(error))
        longest = min(LONGEST_WAIT, 2 * (self._wait or FIRST_WAIT / 2))
        self._wait = longest * self._rng.uniform(0.75, 1.0)

    def _works(self) -> None:
        if self._wait is not None:
            event(log, logging.INFO, "uploads work again")
            self._wait = None
