"""A version folder appears whole or not at all, one run at a time; and the way back.

    with publishing(base, "the retraining of fashion") as versions:
        folder = versions.publish(write)

A version is written beside the others under a name that no model server looks at, forced to the disk, and renamed.
"""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from defenses.retraining.lock import LockedError, locked

LOCK = ".retraining.lock"
_ASIDE = ".retraining-"
_WITHDRAWN = ".withdrawn-"


class PublishError(Exception):
    """A version that cannot be published or withdrawn; `str()` says why and the remedy."""


class BusyError(PublishError):
    """Another run has the folder to itself; `str()` says which one."""


class Versions:
    """The versions under a model's base path, while nobody else publishes there."""

    def __init__(self, base: Path) -> None:
        self.base = base

    def numbers(self) -> list[int]:
        """Version numbers, ascending; folders that hold no model included, since a server may be about to look."""
        return sorted(int(path.name) for path in self.base.iterdir() if path.name.isascii() and path.name.isdigit())

    def newest(self) -> Path:
        """The folder of the newest version that holds a model.

        Raises:
            PublishError: there is none.
        """
        for number in reversed(self.numbers()):
            for path in self.base.iterdir():
                if path.name.isdigit() and int(path.name) == number and (path / "saved_model.pb").is_file():
                    return path
        raise PublishError(f"{self.base} has no version with a saved_model.pb; name the folder that is served from")

    def publish(self, write: Callable[[Path], None]) -> Path:
        """Publishes the next version.

        Args:
            write: fills the folder that it is given, which does not exist yet. If it raises, nothing is published.

        Returns:
            The version's folder.

        Raises:
            PublishError: the disk is full or the folder cannot be written.
        """
        number = max([0, *self.numbers(), *self._withdrawn()]) + 1
        final = self.base / str(number)
        try:
            with tempfile.TemporaryDirectory(prefix=_ASIDE, dir=self.base, ignore_cleanup_errors=True) as aside:
                made = Path(aside) / str(number)
                write(made)
                if not (made / "saved_model.pb").is_file():
                    raise PublishError(f"{made} was written without a saved_model.pb")
                _readable(made)
                _sync(made)
                made.rename(final)  # of one file system, and so atomic
                _sync_folder(self.base)
        except OSError as error:
            raise PublishError(f"version {number} cannot be written to {self.base}: {error.strerror}") from None
        return final

    def withdraw(self, number: int) -> Path:
        """Takes a version away from the server, which goes back to the one before; its files are kept aside.

        Returns:
            Where it is now.

        Raises:
            PublishError: there is no such version, or no other to go back to.
        """
        folder = self.base / str(number)
        if not folder.is_dir():
            raise PublishError(f"{self.base} has no version {number}")
        if not any(
            (self.base / str(other) / "saved_model.pb").is_file() for other in self.numbers() if other != number
        ):
            raise PublishError(f"{self.base} has no version but {number}; there is nothing to go back to")
        aside = self.base / f"{_WITHDRAWN}{number}"
        folder.rename(aside)
        _sync_folder(self.base)
        return aside

    def _withdrawn(self) -> list[int]:
        """A number is never given twice: servers and caches remember what a version answered."""
        names = [path.name.removeprefix(_WITHDRAWN) for path in self.base.glob(f"{_WITHDRAWN}*")]
        return [int(name) for name in names if name.isdigit()]

    def sweep(self) -> None:
        """Removes what a run that was killed left behind; the lock says that nobody is writing it."""
        for left in self.base.glob(f"{_ASIDE}*"):
            shutil.rmtree(left, ignore_errors=True)


@contextmanager
def publishing(base: Path, run: str) -> Iterator[Versions]:
    """The versions under `base`, locked for one run. The lock goes with its process, however that ends.

    Args:
        base: the folder that a model server watches.
        run: what others are told is publishing there.

    Raises:
        BusyError: another run has the lock.
        PublishError: there is no such folder, or it cannot be written.
    """
    with ExitStack() as held:
        try:
            held.enter_context(locked(base / LOCK, run))
        except LockedError as error:
            raise BusyError(f"another run publishes to {base}: {error.holder}; wait until it has ended") from None
        except OSError as error:
            raise PublishError(f"{base} cannot be published to: {error.strerror}") from None
        versions = Versions(base)
        versions.sweep()
        yield versions


def _readable(folder: Path) -> None:
    """The model server is another user: as readable as the umask lets new files be."""
    mask = os.umask(0)
    os.umask(mask)
    for path in (folder, *folder.rglob("*")):
        path.chmod((0o777 if path.is_dir() else 0o666) & ~mask)


def _sync(folder: Path) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())
    for path in (*(path for path in folder.rglob("*") if path.is_dir()), folder):
        _sync_folder(path)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
