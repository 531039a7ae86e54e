"""The framing: own writer and reader against each other and against TensorFlow's."""

import struct
from io import BytesIO
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.capture.tfrecord import FRAME, MAX_PAYLOAD, DamagedError, framed, masked, records

PAYLOADS = st.lists(st.binary(max_size=200), max_size=8)


def read(data: bytes) -> tuple[list[bytes], DamagedError | None]:
    found = []
    try:
        for _, payload in records(BytesIO(data)):
            found.append(payload)
    except DamagedError as error:
        return found, error
    return found, None


@given(PAYLOADS)
def test_what_is_written_is_read(payloads: list[bytes]) -> None:
    assert read(b"".join(map(framed, payloads))) == (payloads, None)


@given(PAYLOADS, st.data())
def test_a_cut_file_gives_its_whole_records_and_says_where_it_ends(payloads: list[bytes], data: st.DataObject) -> None:
    written = b"".join(map(framed, payloads))
    cut = data.draw(st.integers(0, len(written)))
    ends = [0]
    for payload in payloads:
        ends.append(ends[-1] + FRAME + len(payload))
    whole = max(at for at, end in enumerate(ends) if end <= cut)
    found, damage = read(written[:cut])
    assert found == payloads[:whole]
    assert (damage is None) == (cut in ends)
    if damage is not None:
        assert damage.offset == ends[whole]


@given(st.lists(st.binary(min_size=1, max_size=50), min_size=1, max_size=4), st.data())
def test_any_flipped_bit_is_noticed(payloads: list[bytes], data: st.DataObject) -> None:
    written = bytearray(b"".join(map(framed, payloads)))
    bit = data.draw(st.integers(0, 8 * len(written) - 1))
    written[bit // 8] ^= 1 << bit % 8
    found, damage = read(bytes(written))
    assert damage is not None
    assert found == payloads[: len(found)]


@given(st.binary(max_size=300))
def test_no_bytes_do_more_than_be_refused(data: bytes) -> None:
    read(data)


def test_a_length_beyond_all_messages_is_not_believed() -> None:
    length = struct.pack("<Q", MAX_PAYLOAD + 1)
    _, damage = read(length + struct.pack("<I", masked(length)) + b"x" * 100)
    assert damage is not None
    assert str(MAX_PAYLOAD + 1) in damage.problem


@pytest.mark.parametrize("payloads", [[], [b""], [b"a", b"b" * 1000, bytes(range(256))]])
def test_tensorflow_reads_ours_and_we_read_its(payloads: list[bytes], tmp_path: Path) -> None:
    import tensorflow as tf

    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    ours.write_bytes(b"".join(map(framed, payloads)))
    assert [bytes(each.numpy()) for each in tf.data.TFRecordDataset(str(ours))] == payloads
    with tf.io.TFRecordWriter(str(theirs)) as writer:
        for payload in payloads:
            writer.write(payload)
    assert theirs.read_bytes() == ours.read_bytes()
