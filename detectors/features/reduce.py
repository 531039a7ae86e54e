"""Any input as a few numbers a row: images block-averaged, long vectors too, text as counts of character trigrams."""

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

GRID = 7
"""Blocks along each side of an image for its embedding."""
FINE = 32
"""Pixels along each side of an image for its fingerprint, at most."""
LONG = 4096
"""Values of a row of anything else, at most; longer rows are block-averaged."""
BUCKETS = 1024
"""Of the trigrams."""
MAX_TEXT = 16_384
"""Bytes of a text that are looked at."""
_MAX_CHANNELS = 4
_ODD = 0x9E3779B97F4A7C15

Rows = NDArray[np.float32]


def is_image(shape: tuple[int, ...]) -> bool:
    """Whether a batch of this shape, rows first, holds images: (H, W), (H, W, C) or (C, H, W) with few channels."""
    if len(shape) == 3:
        return min(shape[1:]) >= GRID
    if len(shape) == 4:
        return _channels_first(shape) or (min(shape[1:3]) >= GRID and shape[3] <= _MAX_CHANNELS)
    return False


def _channels_first(shape: tuple[int, ...]) -> bool:
    return shape[1] <= _MAX_CHANNELS < min(shape[2:]) and min(shape[2:]) >= GRID


def blocks(images: NDArray[Any], side: int) -> Rows:
    """Images (rows, H, W), (rows, H, W, C) or (rows, C, H, W) averaged over at most side x side blocks each channel.

    Returns:
        (rows, side, side, C) float32; sides that are shorter stay as they are.
    """
    if images.ndim == 3:
        images = images[..., np.newaxis]
    elif _channels_first(images.shape):
        images = np.moveaxis(images, 1, -1)
    rows, height, width, channels = images.shape
    values = np.ascontiguousarray(images, dtype=np.float32)
    if height > side:
        values = _averages(height, side) @ values.reshape(rows, height, width * channels)
        values = values.reshape(rows, side, width, channels)
    if width > side:
        stacked = values.transpose(0, 1, 3, 2) @ _averages(width, side).T
        values = np.ascontiguousarray(stacked.transpose(0, 1, 3, 2))
    return values


def shortened(rows: NDArray[Any]) -> Rows:
    """Any numeric batch as (rows, at most LONG) float32, neighbours averaged where there are more."""
    flat = np.asarray(rows, dtype=np.float32).reshape(len(rows), -1)
    length = flat.shape[1]
    if length <= LONG:
        return flat
    step = -(-length // LONG)
    whole = length - length % step
    head: Rows = flat[:, :whole].reshape(len(flat), -1, step).mean(axis=2, dtype=np.float32)
    if whole == length:
        return head
    return np.concatenate([head, flat[:, whole:].mean(axis=1, keepdims=True, dtype=np.float32)], axis=1)


def trigrams(texts: NDArray[Any]) -> Rows:
    """Texts, (rows, ...) bytes, as square roots of the shares of their byte trigrams, hashed: (rows, BUCKETS) float32.

    Square roots of shares have a length of 1, and their distances are Hellinger's.
    """
    found = np.zeros((len(texts), BUCKETS), dtype=np.float32)
    for at, row in enumerate(texts.reshape(len(texts), -1)):
        grams = windows(byte_values(row), 3)
        if len(grams):
            counts = np.bincount((grams >> np.uint64(40)).astype(np.int64) % BUCKETS, minlength=BUCKETS)
            found[at] = np.sqrt(counts / counts.sum())
    return found


def byte_values(row: NDArray[Any]) -> NDArray[np.uint64]:
    """The bytes of all strings of a row, lower case, one after the other."""
    joined = b" ".join(each if isinstance(each, bytes) else str(each).encode() for each in row.tolist())
    return np.frombuffer(joined[:MAX_TEXT].lower(), dtype=np.uint8).astype(np.uint64)


def windows(values: NDArray[np.uint64], width: int) -> NDArray[np.uint64]:
    """A hash of each window of `width` values along the last axis, by a polynomial modulo 2^64, mixed.

    Args:
        values: (..., length).

    Returns:
        (..., length - width + 1); empty if there are fewer values than the width.
    """
    length = values.shape[-1]
    if length < width:
        return np.zeros((*values.shape[:-1], 0), dtype=np.uint64)
    # A window of a + b values is one of a and one of b: widths of powers of two are put together.
    power, at_power = values + np.uint64(1), 1
    whole, at_whole = None, 0
    while True:
        if width & at_power:
            whole = power if whole is None else _joined(whole, at_whole, power, at_power)
            at_whole += at_power
        if at_whole == width and whole is not None:
            return mixed(whole)
        power = _joined(power, at_power, power, at_power)
        at_power *= 2


def _joined(first: NDArray[np.uint64], a: int, second: NDArray[np.uint64], b: int) -> NDArray[np.uint64]:
    """Hashes of windows of a + b values from those of the first a and of the b after them."""
    length = min(first.shape[-1], second.shape[-1] - a)
    joined: NDArray[np.uint64] = first[..., :length] * np.uint64(pow(_ODD, b, 2**64))
    joined += second[..., a : a + length]
    return joined


def mixed(hashes: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """SplitMix64's finaliser (Steele et al. 2014): every bit of the input moves every bit of the output."""
    shifted = hashes >> np.uint64(30)
    made: NDArray[np.uint64] = hashes ^ shifted
    for factor, shift in ((0xBF58476D1CE4E5B9, 27), (0x94D049BB133111EB, 31)):
        made *= np.uint64(factor)
        made ^= np.right_shift(made, np.uint64(shift), out=shifted)
    return made


@lru_cache(64)
def _averages(length: int, side: int) -> Rows:
    """(side, length), where length is larger, that averages blocks whose sizes differ by one at most."""
    edges = np.linspace(0, length, side + 1).round().astype(int)
    matrix = np.zeros((side, length), dtype=np.float32)
    for at in range(side):
        matrix[at, edges[at] : edges[at + 1]] = 1 / (edges[at + 1] - edges[at])
    return matrix
