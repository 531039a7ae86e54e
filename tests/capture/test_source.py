"""Captured files read back, whole and damaged, one and many, here and in a store."""

from pathlib import Path

import fsspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protos import prediction_log_pb2 as log
from proxy.capture.record import encoded
from proxy.capture.source import Source, SourceError
from proxy.capture.tfrecord import FRAME, framed
from tests.capture.made import call, write


def times(source: Source) -> list[float]:
    return [each.time for each in source]


@settings(max_examples=30, deadline=None)
@given(st.lists(st.lists(st.integers(0, 1000), max_size=6), max_size=8))
def test_files_are_read_in_the_order_of_their_times(
    tmp_path_factory: pytest.TempPathFactory, parts: list[list[int]]
) -> None:
    folder = tmp_path_factory.mktemp("files")
    for at, part in enumerate([[], *parts]):
        write(folder / f"{at}.tfrecord", [call(time=float(each)) for each in sorted(part)])
    source = Source([str(folder)])
    assert times(source) == sorted(float(each) for part in parts for each in part)
    assert times(source) == sorted(float(each) for part in parts for each in part), "again"


def test_a_damaged_file_is_used_up_to_there_and_named_with_the_offset(tmp_path: Path) -> None:
    one = len(encoded(call(time=1.0))) + FRAME
    write(tmp_path / "a.tfrecord", [call(time=1.0), call(time=3.0)], end=framed(b"x" * 50)[:-5])
    damaged = write(tmp_path / "b.tfrecord", [call(time=2.0), call(time=4.0), call(time=6.0)])
    raw = bytearray(damaged.read_bytes())
    raw[one + 40] ^= 1
    damaged.write_bytes(raw)
    (tmp_path / "c.tfrecord").write_bytes(b"this is something else altogether")
    write(tmp_path / "d.tfrecord", [call(time=5.0)], end=framed(b"\xff\xff") + framed(encoded(call(time=7.0))))
    source = Source([str(tmp_path)])
    assert times(source) == [1, 2, 3, 5, 7]
    problems = "\n".join(sorted(source.problems))
    assert f"a.tfrecord: damaged at byte {2 * one}: the file ends within a record; the 2 calls" in problems
    assert f"b.tfrecord: damaged at byte {one}: the checksum of a record is wrong; the 1 calls" in problems
    assert "c.tfrecord: damaged at byte 0: the checksum of a length is wrong; the 0 calls" in problems
    assert f"d.tfrecord: the record at byte {one} is no PredictionLog" in problems


def test_what_others_wrote_is_counted(tmp_path: Path) -> None:
    other = log.PredictionLog()
    other.predict_log.request.model_spec.name = "toy"
    write(tmp_path / "a.tfrecord", [call()], end=framed(other.SerializeToString()))
    source = Source([str(tmp_path / "a.tfrecord")])
    assert len(times(source)) == source.foreign == 1


def test_any_number_of_files_may_be_given(tmp_path: Path) -> None:
    for at in range(1500):  # more than a process may have open
        write(tmp_path / f"{at}.tfrecord", [call(time=float(at)), call(time=at + 0.5)])
    assert times(Source([str(tmp_path)])) == [at / 2 for at in range(3000)]


def test_urls_name_files_and_folders(tmp_path: Path) -> None:
    store = fsspec.filesystem("memory")
    store.pipe_file("/source-test/toy/a.tfrecord", framed(encoded(call(time=1.0))))
    store.pipe_file("/source-test/toy/b.tfrecord", framed(encoded(call(time=2.0))))
    store.pipe_file("/source-test/toy/notes.txt", b"not ours")
    assert times(Source(["memory://source-test"])) == [1, 2]
    assert times(Source(["memory://source-test/toy/b.tfrecord"])) == [2]
    assert times(Source([write(tmp_path / "c.tfrecord", [call(time=1.5)]).as_uri(), "memory://source-test"])) == [
        1,
        1.5,
        2,
    ]


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/nowhere/at/all", "there is no such file or folder"),
        ("memory://empty-place", "has no file of captured calls"),
        ("nosuch://bucket/x", "cannot be read"),
    ],
)
def test_paths_that_name_nothing_are_told(path: str, said: str) -> None:
    with pytest.raises(SourceError, match=said):
        Source([path])
