"""What the steps for images given as arrays share: one view of the rows, and work in pieces of bounded size."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from defenses.input.base import Array, Batch, InvalidInputError

Floats = NDArray[np.floating]

PIECE = 2**20
"""Values that are worked on at a time, so that temporary arrays stay small beside a large batch."""


def as_images(values: Array) -> Array:
    """(rows, height, width, channels), a view; a last axis of one channel is added to (rows, height, width).

    Raises:
        InvalidInputError: the rows are no images.
    """
    if values.ndim == 3:
        return values[..., np.newaxis]
    if values.ndim == 4:
        return values
    raise InvalidInputError(
        f"a row has the shape {list(values.shape[1:])}, and an image has [height, width] or [height, width, channels]; "
        "send images, or set the input's shape"
    )


def pieces(images: Array, values_each: int) -> Iterator[slice]:
    """Consecutive rows of which a step that takes `values_each` values for each value has about `PIECE` in work."""
    per_row = max(1, images[0].size * values_each)
    rows = max(1, PIECE // per_row)
    for start in range(0, len(images), rows):
        yield slice(start, start + rows)


def to_unit(batch: Batch) -> Floats:
    """The values as [0, 1], a new array."""
    low, high = batch.range
    unit: Floats = (batch.values - batch.values.dtype.type(low)) / batch.values.dtype.type(high - low)
    return unit


def from_unit(unit: Floats, batch: Batch) -> Floats:
    """The other way, in the shape and dtype of the batch."""
    low, high = batch.range
    kind = batch.values.dtype.type
    values: Floats = unit.astype(batch.values.dtype, copy=False) * kind(high - low) + kind(low)
    return values.reshape(batch.values.shape)
