"""The size of an encoded image, read from its header alone: nothing is decoded, so that no bomb can go off."""

import struct
from typing import Literal, NamedTuple

ImageFormat = Literal["jpeg", "png"]

_PNG = b"\x89PNG\r\n\x1a\n"
_JPEG = b"\xff\xd8\xff"
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
"""JPEG's start-of-frame markers (ITU-T T.81, table B.1)."""
_STANDALONE = frozenset({0x01, *range(0xD0, 0xD8)})
"""Markers without a length."""


class Header(NamedTuple):
    """Attributes: format, and width and height in pixels."""

    format: ImageFormat
    width: int
    height: int


def read_header(data: bytes) -> Header | None:
    """The header of a JPEG or PNG; None if it is neither, or is cut off."""
    if data.startswith(_PNG):
        return _png(data)
    return _jpeg(data) if data.startswith(_JPEG) else None


def _png(data: bytes) -> Header | None:
    if len(data) < 33 or data[12:16] != b"IHDR":
        return None
    width, height = struct.unpack(">II", data[16:24])
    return Header("png", width, height)


def _jpeg(data: bytes) -> Header | None:
    at = 2
    while at + 4 <= len(data):
        if data[at] != 0xFF:
            return None
        marker = data[at + 1]
        if marker == 0xFF:  # fill byte
            at += 1
        elif marker in _STANDALONE:
            at += 2
        elif marker in _FRAMES:
            if at + 9 > len(data):
                return None
            height, width = struct.unpack(">HH", data[at + 5 : at + 9])
            return Header("jpeg", width, height)
        else:
            at += 2 + int.from_bytes(data[at + 2 : at + 4])
    return None
