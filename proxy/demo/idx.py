"""Reads IDX files, the format of MNIST and its relatives.

Source: http://yann.lecun.com/exdb/mnist/ ("the IDX file format"): two zero bytes, a type code, the number of
dimensions, each dimension's size as a big-endian uint32, then the values in C order. Only unsigned bytes (0x08) are
read here.
"""

import gzip
import math
import struct
import zlib
from io import BufferedIOBase
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

UNSIGNED_BYTE = 0x08
MAX_VALUES = 2**28
"""More than five times Fashion-MNIST's training images; bounds what a broken or hostile file may claim."""


class IdxError(Exception):
    """A file that is not what it should be; the message names the file and what was found."""


def read(path: Path, dimensions: int) -> NDArray[np.uint8]:
    """Reads a file of unsigned bytes, gzip-compressed if its name ends in `.gz`.

    Args:
        path: the file.
        dimensions: how many the values must have: 1 for labels (N,), 3 for images (N, H, W).

    Returns:
        The values, uint8, of the shape that the file states.

    Raises:
        IdxError: unreadable, another type or number of dimensions, too large, truncated, or with bytes left over.
    """
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            return _values(file, dimensions)
    except IdxError as error:
        raise IdxError(f"{path}: {error}") from None
    except EOFError:
        raise IdxError(f"{path}: truncated inside the compressed data") from None
    except zlib.error as error:
        raise IdxError(f"{path}: broken compression: {error}") from None
    except OSError as error:
        raise IdxError(f"{path}: {error.strerror or error}") from None


def _values(file: BufferedIOBase, dimensions: int) -> NDArray[np.uint8]:
    magic = file.read(4)
    expected = bytes([0, 0, UNSIGNED_BYTE, dimensions])
    if magic != expected:
        raise IdxError(f"begins with {magic.hex() or 'nothing'}, expected {expected.hex()}")
    sizes = file.read(4 * dimensions)
    if len(sizes) < 4 * dimensions:
        raise IdxError("truncated inside the header")
    shape = struct.unpack(f">{dimensions}I", sizes)
    count = math.prod(shape)
    if count > MAX_VALUES:
        raise IdxError(f"claims {count} values of shape {shape}; at most {MAX_VALUES} are read")
    content = file.read(count)
    if len(content) < count:
        raise IdxError(f"truncated: {len(content)} of {count} values")
    if file.read(1):
        raise IdxError(f"holds more than the {count} values of its shape {shape}")
    return np.frombuffer(content, np.uint8).reshape(shape)
