"""TFRecord: the framing of records in files that TensorFlow reads (tensorflow/core/lib/io/record_writer.h).

length      8 bytes, little-endian
checksum    4 bytes, masked CRC-32C of the length
payload     length bytes
checksum    4 bytes, masked CRC-32C of the payload
"""

import struct
from collections.abc import Iterator
from typing import BinaryIO

import google_crc32c

FRAME = 16
"""Bytes that a record takes beside its payload."""
MAX_PAYLOAD = 2**31 - 1
"""No message of protobuf is larger."""
_HEAD = struct.Struct("<QI")
_FOOT = struct.Struct("<I")


class DamagedError(Exception):
    """A record cannot be read. Attributes: offset of the record in bytes; problem, as the operator reads it."""

    def __init__(self, offset: int, problem: str) -> None:
        super().__init__(f"damaged at byte {offset}: {problem}")
        self.offset = offset
        self.problem = problem


def framed(payload: bytes) -> bytes:
    """A payload as a record."""
    length = struct.pack("<Q", len(payload))
    return b"".join((length, _FOOT.pack(masked(length)), payload, _FOOT.pack(masked(payload))))


def masked(data: bytes) -> int:
    """CRC-32C, rotated and shifted so that the checksum of data that holds checksums is no special case."""
    crc = int(google_crc32c.value(data))
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF


def records(file: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """Offset and payload of each record.

    Raises:
        DamagedError: a checksum is wrong, or the file ends within a record; what came before is intact.
    """
    offset = 0
    while head := file.read(_HEAD.size):
        if len(head) < _HEAD.size:
            raise DamagedError(offset, "the file ends within a record")
        length, checksum = _HEAD.unpack(head)
        if masked(head[:8]) != checksum:
            raise DamagedError(offset, "the checksum of a length is wrong")
        if length > MAX_PAYLOAD:
            raise DamagedError(offset, f"a record of {length} bytes is longer than a message can be")
        payload = file.read(length)
        foot = file.read(_FOOT.size)
        if len(payload) < length or len(foot) < _FOOT.size:
            raise DamagedError(offset, "the file ends within a record")
        if masked(payload) != _FOOT.unpack(foot)[0]:
            raise DamagedError(offset, "the checksum of a record is wrong")
        yield offset, payload
        offset += FRAME + length
