"""Rolling files with a simulated clock: rotation, atomicity, bounds, crashes, a disk that is full."""

import contextlib
import fcntl
import resource
import stat
from collections import Counter
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from proxy.capture.files import NoRoomError, RollingFiles, Rotation
from proxy.capture.tfrecord import FRAME, framed, records

NOON = 1_800_000_000


class Folder:
    """A folder, its rolling files and what was told of them."""

    def __init__(self, path: Path, **rotation: float | None) -> None:
        whole = {"file_bytes": 1000, "file_seconds": 60.0, "file_records": None, "disk_bytes": 100_000} | rotation
        self.path = path
        self.told: Counter[str] = Counter()
        today = count(NOON)
        rotate = Rotation(**whole)  # type: ignore[arg-type]
        self.files = RollingFiles(path, rotate, lambda name: self.told.update([name]), lambda: next(today))
        self.files.recover()

    def names(self, ending: str) -> list[Path]:
        return sorted(self.path.glob(f"*/*{ending}"))

    def content(self) -> list[bytes]:
        found = []
        for path in self.names(".tfrecord"):
            with path.open("rb") as file:
                found += [payload for _, payload in records(file)]
        return found


def test_a_file_is_finished_by_size_by_age_and_by_count(tmp_path: Path) -> None:
    folder = Folder(tmp_path, file_records=3)
    folder.files.write("m", b"x" * 1000, 0.0)
    folder.files.expire(0.0)
    assert len(folder.names(".tfrecord")) == 1, "by size"
    folder.files.write("m", b"y", 10.0)
    assert folder.files.next_expiry == 70.0
    folder.files.expire(69.9)
    assert len(folder.names(".tfrecord")) == 1
    folder.files.expire(70.0)
    assert len(folder.names(".tfrecord")) == 2, "by age"
    for _ in range(3):
        folder.files.write("m", b"z", 80.0)
    folder.files.expire(80.0)
    assert len(folder.names(".tfrecord")) == 3, "by count"
    assert sorted(folder.content()) == [b"x" * 1000, b"y", b"z", b"z", b"z"]
    assert folder.told == {"finished": 3}
    assert folder.files.next_expiry is None


def test_files_are_their_owners_alone_and_one_a_model(tmp_path: Path) -> None:
    folder = Folder(tmp_path / "new" / "captured")
    for model in ("m", "../../etc", ".", "ä" * 256, "a/b"):
        folder.files.write(model, b"x", 0.0)
    folder.files.close()
    found = folder.names(".tfrecord")
    assert len(found) == len({path.parent for path in found}) == 5
    assert {path.parent.parent for path in found} == {folder.path}
    assert {stat.S_IMODE(path.stat().st_mode) for path in found} == {0o600}
    assert {stat.S_IMODE(path.stat().st_mode) for path in (folder.path, *folder.path.iterdir())} == {0o700}


def test_a_crash_leaves_one_unfinished_file_that_the_next_start_finishes(tmp_path: Path) -> None:
    folder = tmp_path / "m"
    folder.mkdir()
    whole, torn = framed(b"one") + framed(b"two"), framed(b"three")[:-2]
    (folder / "a.tfrecord.unfinished").write_bytes(whole + torn)
    (folder / "b.tfrecord.unfinished").write_bytes(torn)
    (folder / "c.tfrecord.unfinished").touch()
    after = Folder(tmp_path)
    assert after.told == {"recovered": 1}
    assert after.names(".unfinished") == []
    assert after.content() == [b"one", b"two"]
    assert after.files.size == 2 * (FRAME + 3)


def test_a_file_that_a_living_process_writes_is_left_alone(tmp_path: Path) -> None:
    one = Folder(tmp_path)
    one.files.write("m", b"mine", 0.0)
    other = Folder(tmp_path)
    assert other.told == {}
    one.files.write("m", b"still", 0.0)
    one.files.close()
    assert one.content() == [b"mine", b"still"]


def test_the_oldest_go_when_the_bound_is_reached(tmp_path: Path) -> None:
    folder = Folder(tmp_path, file_bytes=100, disk_bytes=500)
    for at in range(20):
        folder.files.write("ab"[at % 2], b"%03d" % at + b"x" * 97, float(at))
        folder.files.expire(float(at))
        assert sum(path.stat().st_size for path in tmp_path.rglob("*.tfrecord*")) <= 500
    kept = {int(payload[:3]) for payload in folder.content()}
    assert kept == {16, 17, 18, 19}
    assert folder.told == {"finished": 20, "deleted": 16}


def test_without_a_finished_file_there_is_no_room(tmp_path: Path) -> None:
    folder = Folder(tmp_path, file_bytes=400, disk_bytes=500)
    folder.files.write("m", b"x" * 300, 0.0)
    with pytest.raises(NoRoomError):
        folder.files.write("n", b"x" * 300, 0.0)
    folder.files.close()
    folder.files.write("n", b"x" * 300, 0.0)
    assert folder.told == {"finished": 1, "deleted": 1}


@contextlib.contextmanager
def files_end_at(size: int) -> Iterator[None]:
    """As on a full disk, the kernel writes no further: a part of a record, then an error."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_record_that_does_not_fit_leaves_no_trace_and_the_next_goes_on(tmp_path: Path) -> None:
    folder = Folder(tmp_path, file_bytes=10**6, disk_bytes=10**7)
    folder.files.write("m", b"before", 0.0)
    with files_end_at(50_000), pytest.raises(OSError, match="too large"):
        folder.files.write("m", b"x" * 100_000, 0.0)
    folder.files.write("m", b"after", 0.0)
    folder.files.close()
    assert folder.content() == [b"before", b"after"]


def test_who_is_taken_for_abandoned_begins_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between a file's making and its lock, somebody who starts may take it for abandoned and delete it."""
    folder = Folder(tmp_path)
    lock = fcntl.flock
    stolen: list[Path] = []

    def slow(descriptor: int, how: int) -> None:
        if not stolen:
            stolen.extend(folder.names(".unfinished"))
            stolen[0].unlink()
        lock(descriptor, how)

    monkeypatch.setattr("proxy.capture.files.fcntl.flock", slow)
    folder.files.write("m", b"kept", 0.0)
    folder.files.close()
    assert stolen
    assert folder.content() == [b"kept"]
