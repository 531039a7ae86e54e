"""The audit log: what is written, what shows when somebody tampers with it, what happens when the disk is full."""

import json
import os
import resource
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.config.events import AuditLog
from proxy.events.chain import FIRST, check, line_hash, parse
from proxy.events.log import ChainedLog, LogError

NOW = 1_800_000_000.0


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


Open = Callable[..., ChainedLog]


@pytest.fixture
def opened(tmp_path: Path, clock: Clock) -> Iterator[Open]:
    """Logs at one path, one after the other, as those of processes that follow each other."""
    logs: list[ChainedLog] = []

    def make(**given: Any) -> ChainedLog:
        if logs:
            logs[-1].close()
        logs.append(ChainedLog(AuditLog(path=tmp_path / "events.jsonl", **given), clock))
        return logs[-1]

    yield make
    if logs:
        logs[-1].close()


def event(number: int = 0, text: str = "") -> dict[str, Any]:
    return {"event": "x", "time": "2027-01-15T08:00:00.000Z", "number": number, "text": text}


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def files(folder: Path) -> list[Path]:
    return sorted(folder.glob("events.jsonl*"))


def test_each_line_has_the_hash_of_the_one_before(opened: Open, tmp_path: Path) -> None:
    log = opened()
    log.write([event(1), event(2)])
    log.write([event(3)])
    raw = (tmp_path / "events.jsonl").read_bytes().splitlines()
    found = [json.loads(line) for line in raw]
    assert [each["seq"] for each in found] == [1, 2, 3]
    assert [each["previous"] for each in found] == [FIRST, line_hash(raw[0]), line_hash(raw[1])]
    assert (tmp_path / "events.jsonl").stat().st_mode & 0o777 == 0o600


def test_the_chain_goes_on_across_restarts_and_files(opened: Open, tmp_path: Path, clock: Clock) -> None:
    for start in range(5):
        log = opened(max_bytes=900, keep=50)
        for number in range(4):
            log.write([event(start * 4 + number)])
    log.close()
    assert len(files(tmp_path)) > 2
    found = check(list(reversed(files(tmp_path))))
    assert (found.problems, found.lines, found.first, found.last) == ([], 20, 1, 20)
    assert all(path.stat().st_size <= 900 for path in files(tmp_path))


def test_age_begins_the_next_file_and_old_ones_go(opened: Open, tmp_path: Path, clock: Clock) -> None:
    log = opened(max_age=100, keep=2)
    for _ in range(6):
        log.write([event() | {"time": "2027-01-15T08:00:00.000Z"}])
        clock.now += 101
    assert [path.name for path in files(tmp_path)] == ["events.jsonl", "events.jsonl.1", "events.jsonl.2"]
    found = check(files(tmp_path))
    assert (found.problems, found.first, found.last) == ([], 4, 6), "a log whose beginning was thrown away is whole"


def test_an_empty_file_after_a_restart_goes_on_from_the_older_one(opened: Open, tmp_path: Path) -> None:
    opened().write([event(1)])
    opened()
    (tmp_path / "events.jsonl").rename(tmp_path / "events.jsonl.1")
    opened().write([event(2)])
    assert check(files(tmp_path)).problems == []
    assert lines(tmp_path / "events.jsonl")[0]["seq"] == 2


def test_a_file_that_is_moved_away_is_begun_anew_in_the_same_chain(opened: Open, tmp_path: Path) -> None:
    log = opened()
    log.write([event(1)])
    (tmp_path / "events.jsonl").rename(tmp_path / "events.jsonl.moved")
    log.write([event(2)])
    (tmp_path / "events.jsonl").rename(tmp_path / "events.jsonl.again")
    log.write([event(3)])
    assert (check(files(tmp_path)).problems, check(files(tmp_path)).last) == ([], 3)


def test_a_line_that_a_crash_tore_is_cut_off_and_counted(opened: Open, tmp_path: Path) -> None:
    opened().write([event(1), event(2)])
    opened()
    with (tmp_path / "events.jsonl").open("ab") as file:
        file.write(b'{"seq":3,"previous":"')
    opened().write([event(4)])
    assert [(each["seq"], each.get("lost")) for each in lines(tmp_path / "events.jsonl")] == [
        (1, None),
        (2, None),
        (3, 1),
    ]
    assert (check(files(tmp_path)).problems, check(files(tmp_path)).lost) == ([], 1)


def test_two_processes_do_not_write_one_file(opened: Open, tmp_path: Path, clock: Clock) -> None:
    opened().write([event(1)])
    other = ChainedLog(AuditLog(path=tmp_path / "events.jsonl"), clock)
    with pytest.raises(LogError, match="another process writes it"):
        other.write([event(2)])


def test_a_full_disk_leaves_whole_lines_and_a_whole_chain(opened: Open, tmp_path: Path) -> None:
    log = opened()
    log.write([event(1)])
    size = (tmp_path / "events.jsonl").stat().st_size
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 50, hard))
    try:
        with pytest.raises(LogError, match=r"events\.jsonl: File too large"):
            log.write([event(2), event(3)])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert (tmp_path / "events.jsonl").stat().st_size == size, "half a line is no line"
    log.write([event(4)], lost=2)
    assert [(each["seq"], each["number"], each.get("lost")) for each in lines(tmp_path / "events.jsonl")] == [
        (1, 1, None),
        (2, 4, 2),
    ]
    assert check(files(tmp_path)).problems == []


def test_what_is_no_log_is_not_written_to(opened: Open, tmp_path: Path) -> None:
    (tmp_path / "events.jsonl").write_bytes(b"x" * (3 * 2**20))
    with pytest.raises(LogError, match="move it away"):
        opened().write([event(1)])
    assert (tmp_path / "events.jsonl").stat().st_size == 3 * 2**20


@pytest.mark.parametrize("rule", ["always", "second", "never"])
def test_lines_are_forced_to_the_disk_as_configured(
    opened: Open, clock: Clock, rule: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = opened(fsync=rule)
    log.write([event(0)])
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", synced.append)
    for _ in range(10):
        log.write([event(1)])
        log.sync()
        clock.now += 0.5
    assert len(synced) == {"always": 20, "second": 5, "never": 0}[rule]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A log of 12 lines in three files or more."""
    folder = tmp_path_factory.mktemp("whole")
    log = ChainedLog(AuditLog(path=folder / "events.jsonl", max_bytes=900), lambda: NOW)
    for number in range(12):
        log.write([event(number, "é\n\u202e")])
    log.close()
    assert len(files(folder)) >= 3
    return folder


def test_unicode_and_newlines_stay_on_their_line(whole: Path) -> None:
    assert [each["text"] for path in files(whole) for each in lines(path)] == ["é\n\u202e"] * 12
    assert all(path.read_bytes().isascii() for path in files(whole))


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_every_change_before_the_last_line_shows(whole: Path, data: st.DataObject) -> None:
    """Lines changed, removed, added or swapped, by one who does not mend the hashes after."""
    import tempfile

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for path in files(whole):
            shutil.copy(path, folder)
        every = [(path, at) for path in files(folder) for at in range(len(path.read_bytes().splitlines()))]
        last = max(every, key=lambda place: lines(place[0])[place[1]]["seq"])
        path, at = data.draw(st.sampled_from([place for place in every if place != last]))
        raw = path.read_bytes().splitlines(keepends=True)
        how = data.draw(st.sampled_from(["byte", "content", "remove", "add", "swap"]))
        if how == "byte":
            place = data.draw(st.integers(0, len(raw[at]) - 2))
            raw[at] = raw[at][:place] + bytes([raw[at][place] ^ 1]) + raw[at][place + 1 :]
        elif how == "content":
            raw[at] = raw[at].replace(b'"number":', b'"number":9')
        elif how == "remove":
            del raw[at]
        elif how == "add":
            raw.insert(at + 1, raw[at])
        elif at + 1 < len(raw):
            raw[at], raw[at + 1] = raw[at + 1], raw[at]
        else:
            return
        path.write_bytes(b"".join(raw))
        assert check(files(folder)).problems


def test_a_missing_file_shows_with_the_lines_that_are_gone(whole: Path) -> None:
    kept = [path for path in files(whole) if path.name != "events.jsonl.1"]
    gone = lines(whole / "events.jsonl.1")
    (problem,) = check(kept).problems
    assert f"lines {gone[0]['seq']} to {gone[-1]['seq']} are missing" in problem


def test_files_that_the_log_did_not_throw_away_itself_are_missed(opened: Open, tmp_path: Path) -> None:
    for start in range(4):
        log = opened(max_bytes=900, keep=3)
        for number in range(6):
            log.write([event(start * 6 + number)])
    log.close()
    found = check(files(tmp_path))
    assert (found.problems, found.first > 1, found.kept) == ([], True, found.first), "the log threw the first ones away"
    oldest = (tmp_path / "events.jsonl.3").read_bytes().splitlines()
    first = json.loads(oldest[0])["seq"]
    rest = [path for path in files(tmp_path) if path.name != "events.jsonl.3"]
    (problem,) = check(rest).problems
    assert f"lines {first} to {first + len(oldest) - 1} are missing" in problem
    assert check(rest, [line_hash(oldest[-1])]).problems == [], "who knows what came before may check a part"
    (tmp_path / "events.jsonl.3").unlink()
    opened(max_bytes=900, keep=50).write([event(number, "x" * 900) for number in range(3)])
    assert check(files(tmp_path)).problems == [problem], "later files do not hide it"


def test_a_log_that_is_kept_for_less_long_throws_away_what_is_too_much(opened: Open, tmp_path: Path) -> None:
    for number in range(8):
        opened(max_bytes=300, keep=6).write([event(number)])
    opened(max_bytes=300, keep=2).write([event(9)])
    assert [path.name for path in files(tmp_path)] == ["events.jsonl", "events.jsonl.1", "events.jsonl.2"]
    assert check(files(tmp_path)).problems == []


def test_an_end_cut_off_shows_against_a_hash_noted_elsewhere(whole: Path, tmp_path: Path) -> None:
    head = check(files(whole)).head
    for path in files(whole):
        shutil.copy(path, tmp_path)
    assert check(files(tmp_path), [head]).problems == []
    raw = (tmp_path / "events.jsonl").read_bytes().splitlines(keepends=True)
    (tmp_path / "events.jsonl").write_bytes(b"".join(raw[:-1]))
    assert check(files(tmp_path)).problems == [], "the chain alone does not show it"
    assert "no line has the hash" in check(files(tmp_path), [head]).problems[0]


@given(st.binary(max_size=200))
def test_no_line_makes_the_check_fail(raw: bytes) -> None:
    found = parse(raw)
    assert found is None or isinstance(found["seq"], int)
