"""The IDX reader: what is written comes back; what is wrong is said with the file's name, and costs no memory."""

import gzip
import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from proxy.demo import idx

once_a_file = settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
arrays = st.integers(1, 3).flatmap(
    lambda dimensions: hnp.arrays(np.uint8, hnp.array_shapes(min_dims=dimensions, max_dims=dimensions, min_side=0))
)


def encoded(values: np.ndarray) -> bytes:
    """The file format, written out again from its description."""
    return struct.pack(f">HBB{values.ndim}I", 0, 8, values.ndim, *values.shape) + values.tobytes()


def read_or_named_error(path: Path, dimensions: int) -> np.ndarray | None:
    """The values, or None if the error was one that names the file."""
    try:
        return idx.read(path, dimensions)
    except idx.IdxError as error:
        return None if str(error).startswith(f"{path}: ") else pytest.fail(f"{error} does not name its file")


@once_a_file
@given(values=arrays, compressed=st.booleans())
def test_what_is_written_comes_back(tmp_path: Path, values: np.ndarray, compressed: bool) -> None:
    path = tmp_path / ("values.gz" if compressed else "values")
    path.write_bytes(gzip.compress(encoded(values), 1) if compressed else encoded(values))
    found = idx.read(path, values.ndim)
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, values, strict=True)


@once_a_file
@given(values=arrays, data=st.data())
def test_any_other_length_is_refused(tmp_path: Path, values: np.ndarray, data: st.DataObject) -> None:
    content = encoded(values)
    cut = data.draw(st.integers(0, len(content) - 1))
    path = tmp_path / "values"
    for broken in (content[:cut], content + b"\0"):
        path.write_bytes(broken)
        with pytest.raises(idx.IdxError, match=r"values: (truncated|begins with|holds more)"):
            idx.read(path, values.ndim)


@once_a_file
@given(content=st.binary(max_size=200), dimensions=st.integers(1, 3), compressed=st.booleans())
def test_any_bytes_give_values_or_a_clear_error(
    tmp_path: Path, content: bytes, dimensions: int, compressed: bool
) -> None:
    path = tmp_path / ("any.gz" if compressed else "any")
    path.write_bytes(content)
    if (values := read_or_named_error(path, dimensions)) is not None:
        assert encoded(values) == content


@once_a_file
@given(values=arrays, data=st.data())
def test_a_damaged_compressed_file_is_never_a_traceback(
    tmp_path: Path, values: np.ndarray, data: st.DataObject
) -> None:
    content = bytearray(gzip.compress(encoded(values), 1))
    content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    path = tmp_path / "values.gz"
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    read_or_named_error(path, values.ndim)


def test_a_claim_of_too_many_values_costs_nothing(tmp_path: Path) -> None:
    path = tmp_path / "bomb"
    path.write_bytes(struct.pack(">HBB3I", 0, 8, 3, 2**32 - 1, 2**32 - 1, 2**32 - 1))
    tracemalloc.start()
    try:
        with pytest.raises(idx.IdxError, match="at most 268435456 are read"):
            idx.read(path, 3)
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


def test_more_compressed_data_than_stated_is_not_expanded(tmp_path: Path) -> None:
    path = tmp_path / "bomb.gz"
    path.write_bytes(gzip.compress(encoded(np.zeros((1,), np.uint8)) + bytes(2**26)))
    tracemalloc.start()
    try:
        with pytest.raises(idx.IdxError, match="holds more than the 1 values"):
            idx.read(path, 1)
        assert tracemalloc.get_traced_memory()[1] < 2**22
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("content", "dimensions", "message"),
    [
        (b"", 1, "begins with nothing, expected 00000801"),
        (b"\x00\x00\x08\x03", 1, "begins with 00000803, expected 00000801"),
        (b"\x00\x00\x0d\x01\x00\x00\x00\x00", 1, "begins with 00000d01, expected 00000801"),
        (b"\x00\x00\x08\x01\x00\x00", 1, "truncated inside the header"),
        (b"\x00\x00\x08\x01\x00\x00\x00\x03ab", 1, "truncated: 2 of 3 values"),
    ],
)
def test_the_message_says_what_was_found(tmp_path: Path, content: bytes, dimensions: int, message: str) -> None:
    path = tmp_path / "labels"
    path.write_bytes(content)
    with pytest.raises(idx.IdxError) as error:
        idx.read(path, dimensions)
    assert str(error.value) == f"{path}: {message}"


def test_a_missing_file_and_a_folder_are_named(tmp_path: Path) -> None:
    with pytest.raises(idx.IdxError, match="none: No such file or directory"):
        idx.read(tmp_path / "none", 1)
    with pytest.raises(idx.IdxError, match="Is a directory"):
        idx.read(tmp_path, 1)
