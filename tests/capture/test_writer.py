"""The writer's thread, its queue, and uploads, on real folders and fsspec's own stores."""

import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import pytest

from proxy.capture.caps import Caps
from proxy.capture.source import Source
from proxy.capture.upload import Uploader
from proxy.capture.writer import Writer
from proxy.config.capture import Capture
from tests.capture.made import MARK, call


class Told:
    """Notes everything."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.states: list[bool] = []

    def written(self, model: str, rows: int, marked: bool, size: int) -> None:
        self.counts["marked" if marked else "written"] += 1

    def dropped(self, model: str, reason: str) -> None:
        self.counts[reason] += 1

    def filed(self, outcome: str) -> None:
        self.counts[outcome] += 1

    def failing(self, failing: bool) -> None:
        self.states.append(failing)

    def upload_failed(self) -> None:
        self.counts["upload failed"] += 1

    def kept(self, size: int) -> None:
        pass


def settings(path: Any, **more: Any) -> Capture:
    return Capture.model_validate({"path": str(path), "models": {"toy": 1}} | more)


def until(condition: Callable[[], Any]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def ended(writer: Writer) -> None:
    writer.finish()
    writer.join(20)
    assert not writer.alive


def test_all_that_was_put_is_written_in_its_order(tmp_path: Path) -> None:
    told = Told()
    writer = Writer(settings(tmp_path, file_records=10), told)
    writer.start()
    for at in range(95):
        writer.put(call(time=float(at), marks=[MARK] if at % 5 == 0 else []))
    ended(writer)
    assert [each.time for each in Source([str(tmp_path)])] == list(map(float, range(95)))
    assert told.counts == {"written": 76, "marked": 19, "finished": 10}
    assert writer.queued_bytes == 0


def test_a_full_queue_drops_and_never_waits(tmp_path: Path) -> None:
    told = Told()
    size = len(call().body) + len(call().reply)
    writer = Writer(settings(tmp_path, queue_bytes=10 * size), told)
    for _ in range(15):  # nothing takes anything yet
        writer.put(call())
    assert told.counts == {"queue": 5}
    writer.start()
    ended(writer)
    assert told.counts == {"queue": 5, "written": 10, "finished": 1}


def test_a_folder_that_cannot_be_written_is_survived_and_told_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, told = tmp_path / "captured", Told()
    place.write_text("a file is in the way")
    monkeypatch.setattr("proxy.capture.writer.PAUSE", 0.05)
    writer = Writer(settings(place), told)
    writer.start()
    until(lambda: told.states)
    for _ in range(3):
        writer.put(call())
        time.sleep(0.06)
    until(lambda: told.counts["disk"] == 3)
    place.unlink()
    while not told.counts["written"]:
        writer.put(call())
        time.sleep(0.01)
    ended(writer)
    assert told.states == [True, False]
    assert [each.message for each in caplog.records].count("capture cannot write") == 1
    assert len(list(Source([str(place)]))) == told.counts["written"]


def test_files_are_uploaded_and_leave_the_spool(tmp_path: Path) -> None:
    told, url = Told(), f"memory://captured-{tmp_path.name}"
    writer = Writer(settings(url, spool=str(tmp_path), file_records=2), told)
    writer.start()
    for at in range(5):
        writer.put(call(time=float(at)))
    until(lambda: told.counts["uploaded"] == 2)
    ended(writer)
    assert told.counts["uploaded"] == 3
    assert not list(tmp_path.rglob("*.tfrecord*"))
    assert [each.time for each in Source([url])] == [0, 1, 2, 3, 4]


class Away(fsspec.AbstractFileSystem):
    """An object store that is away until it is not."""

    protocol = "away"
    cachable = False
    there = threading.Event()
    held: dict[str, bytes] = {}  # noqa: RUF012  # the store's content, whoever asks

    def makedirs(self, path: str, exist_ok: bool = False) -> None:
        if not self.there.is_set():
            raise ConnectionError("the store is away")

    def put_file(self, lpath: str, rpath: str, **options: Any) -> None:
        self.held[rpath] = Path(lpath).read_bytes()


def test_a_store_that_is_away_gets_the_files_when_it_is_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fsspec.register_implementation("away", Away, clobber=True)
    monkeypatch.setattr("proxy.capture.upload.FIRST_WAIT", 0.02)
    monkeypatch.setattr("proxy.capture.upload.LONGEST_WAIT", 0.1)
    (tmp_path / "m").mkdir()
    for name in ("b", "a"):
        (tmp_path / "m" / f"{name}.tfrecord").write_bytes(name.encode())
    (tmp_path / "m" / "c.tfrecord.unfinished").write_bytes(b"c")
    told = Told()
    uploader = Uploader(tmp_path, "away://bucket/there", told)
    uploader.start()
    until(lambda: told.counts["upload failed"] > 3)
    assert len(list(tmp_path.rglob("*.tfrecord"))) == 2
    Away.there.set()
    until(lambda: told.counts["uploaded"] == 2)
    uploader.finish(10)
    assert list(Away.held.values()) == [b"a", b"b"], "the oldest first"
    assert [path.name for path in (tmp_path / "m").iterdir()] == ["c.tfrecord.unfinished"]


def test_a_caller_has_so_many_rows_an_hour() -> None:
    caps = Caps(10)
    assert [caps.take("a", 4, 100.0) for _ in range(3)] == [True, True, False]
    assert caps.take("a", 2, 101.0), "a smaller call still fits"
    assert caps.take("b", 10, 101.0)
    assert not caps.take("c", 11, 101.0), "a call is captured whole or not at all"
    assert caps.take("a", 10, 3600.0), "the next hour"


def test_new_names_are_no_way_around_a_full_table() -> None:
    caps = Caps(10, max_callers=3)
    taken = sum(caps.take(f"sybil-{at}", 5, 0.0) for at in range(1000))
    assert taken == 3 + 2
