"""An audit log is followed across the files that take each other's place, however fast they do."""

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from proxy.config.events import AuditLog
from proxy.events.chain import check
from proxy.events.follow import lines
from proxy.events.log import ChainedLog

NOW = 1_800_000_000.0


@pytest.fixture
def log(tmp_path: Path) -> Iterator[ChainedLog]:
    """One of files that hold a line or two."""
    made = ChainedLog(AuditLog(path=tmp_path / "events.jsonl", max_bytes=500, keep=500, fsync="never"), lambda: NOW)
    yield made
    made.close()


def event(number: int) -> dict[str, Any]:
    return {"event": "x", "time": "2027-01-15T08:00:00.000Z", "number": number}


def read(held: Iterator[dict[str, Any] | None]) -> list[int]:
    """Numbers of what there is now."""
    found = []
    for _ in range(2):  # who finds a gap between two files looks twice
        found += [content["number"] for content in iter(lambda: next(held), None)]
        time.sleep(0.02)
    return found


def test_several_files_that_came_between_two_looks_are_all_read(log: ChainedLog, tmp_path: Path) -> None:
    log.write([event(0)])
    held = lines(tmp_path / "events.jsonl")
    assert read(held) == [0]
    for number in range(1, 12):
        log.write([event(number)])
    assert (tmp_path / "events.jsonl.3").exists()
    assert read(held) == list(range(1, 12))
    assert read(held) == []


def test_what_is_written_before_a_file_is_moved_is_read(log: ChainedLog, tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    log.write([event(0)])
    held = lines(path)
    assert read(held) == [0]
    log.write([event(1)])
    path.rename(tmp_path / "events.jsonl.1")
    assert read(held) == [1], "nothing has taken its place yet"
    log.write([event(2)])
    assert read(held) == [2]


def test_half_a_line_waits_for_the_rest(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    whole = json.dumps({"seq": 1, "previous": "0", "number": 1}) + "\n"
    path.write_text(whole[:20])
    held = lines(path)
    assert read(held) == []
    with path.open("a") as file:
        file.write(whole[20:])
    assert read(held) == [1]


def test_a_file_that_is_emptied_is_begun_anew(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    text = "".join(json.dumps({"seq": at, "previous": "0", "number": at}) + "\n" for at in (1, 2))
    path.write_text(text)
    held = lines(path)
    assert read(held) == [1, 2]
    path.write_text(json.dumps({"seq": 3, "previous": "0", "number": 3}) + "\n")
    assert read(held) == [3]


def test_a_flood_is_read_whole_and_in_order_while_files_come_and_go(log: ChainedLog, tmp_path: Path) -> None:
    log.write([event(0)])
    held = lines(tmp_path / "events.jsonl")

    def write() -> None:
        for number in range(1, 150):
            log.write([event(number)])

    writer = threading.Thread(target=write)
    writer.start()
    found = []
    while writer.is_alive():
        found += read(held)
    writer.join()
    found += read(held)
    assert found == list(range(150))
    assert (tmp_path / "events.jsonl.40").exists()
    assert check(list(tmp_path.glob("events.jsonl*"))).problems == []
