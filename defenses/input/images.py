"""What the steps for images given as arrays share: one view of the rows, levels, and work in pieces of bounded size."""

from collections.abc import Iterator
from itertools import product

import numpy as np
from numpy.typing import NDArray

from defenses.input.base import Array, Batch, InvalidInputError

Floats = NDArray[np.floating]

MAX_CHANNELS = 256
"""More than images of any kind have, but for a few spectral ones; some steps take time for each."""

PIECE = 2**16
"""Values that are worked on at a time: temporary arrays stay within a processor's cache, and small beside a batch."""


def as_images(values: Array) -> Array:
    """(rows, height, width, channels), a view; a last axis of one channel is added to (rows, height, width).

    Raises:
        InvalidInputError: the rows are no images, or have more than `MAX_CHANNELS`.
    """
    if values.ndim not in (3, 4):
        raise InvalidInputError(
            f"a row has the shape {list(values.shape[1:])}, and an image has [height, width] or [height, width, "
            "channels]; send images, or set the input's shape"
        )
    images = values[..., np.newaxis] if values.ndim == 3 else values
    if images.shape[3] > MAX_CHANNELS:
        raise InvalidInputError(
            f"a row has {images.shape[3]} channels; send images of up to {MAX_CHANNELS}, channels last"
        )
    return images


def pieces(images: Array, size: int = PIECE) -> Iterator[slice]:
    """Consecutive rows of about `size` values, at least one."""
    rows = max(1, size // images[0].size)
    for start in range(0, len(images), rows):
        yield slice(start, start + rows)


def neighbourhoods(
    images: Array, before: int, after: int, size: int = PIECE
) -> Iterator[tuple[tuple[slice, slice, slice], Array]]:
    """Work for a filter with a window, piece by piece: several rows, or tiles of large ones.

    Args:
        images: (rows, height, width, channels).
        before, after: pixels that the window reaches up and left, and down and right. Borders are mirrored.
        size: values of a piece, roughly.

    Yields:
        The rows, lines and columns of a piece, as an index of `images`; and its values with all that the window
        reaches, (channels, rows, lines + before + after, columns + before + after), a new contiguous array.
    """
    height, width, channels = images.shape[1:]
    down, across = _mirrored(height, before, after), _mirrored(width, before, after)
    reach = before + after  # tiles much smaller than this would cost more for their borders than for themselves
    wide = min(width, max(reach, size // channels))
    tall = min(height, max(reach, size // (wide * channels)))
    for rows in pieces(images, size):
        for top, left in product(range(0, height, tall), range(0, width, wide)):
            lines, columns = down[top : top + tall + reach], across[left : left + wide + reach]
            around = images[rows][:, lines].transpose(3, 0, 1, 2)[..., columns]
            yield (rows, slice(top, top + tall), slice(left, left + wide)), np.ascontiguousarray(around)


def _mirrored(size: int, before: int, after: int) -> NDArray[np.intp]:
    """Indices from -before to size + after, turned back at the borders as often as needed; the border comes twice."""
    at = np.arange(-before, size + after) % (2 * size)
    return np.minimum(at, 2 * size - 1 - at)


def to_levels(batch: Batch, highest: int = 1) -> Floats:
    """The values as numbers from 0 to `highest`, not rounded; a new array."""
    low, high = batch.range
    kind = batch.values.dtype.type
    levels: Floats = batch.values - kind(low)
    levels *= kind(highest / (high - low))
    return levels


def from_levels(levels: Floats, batch: Batch, highest: int = 1) -> Floats:
    """The other way, in place, in the shape of the batch. Whole levels come to lie as exactly as the dtype allows."""
    low, high = batch.range
    kind = levels.dtype.type
    levels *= kind(high - low)
    if highest != 1:
        levels /= kind(highest)
    levels += kind(low)
    return levels.reshape(batch.values.shape)
