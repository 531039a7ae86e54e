"""The median of a small neighbourhood."""

from functools import cache
from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from defenses.input.base import Array, Batch, Content, Settings
from defenses.input.images import PIECE, as_images, neighbourhoods

Exchange = tuple[int, int]
"""Two places of a sorting network: the smaller value goes to the first, the larger to the second."""


class Median(Settings):
    """Each pixel becomes the median of a `size` x `size` window, channel by channel (Xu et al. 2018).

    Borders are mirrored. A window of an even size reaches one pixel further up and to the left, and of its two middle
    values the larger is taken, so that no new values come about. It removes isolated strong changes (L0 attacks) well
    and smooth ones badly; BPDA passes it.

    All windows go through one sorting network at once: columns of the window are sorted first, since neighbouring
    windows share them, then merged (Batcher 1968), leaving out what the middle does not depend on.
    """

    kind: Literal["median"] = "median"
    size: int = Field(ge=2, le=9)

    takes: ClassVar[Content] = "numbers"
    ranged: ClassVar[bool] = False
    finite: ClassVar[bool] = True

    def __call__(self, batch: Batch) -> Array:
        images = as_images(batch.values)
        result = np.empty_like(images)
        before = self.size // 2
        for at, around in neighbourhoods(images, before, self.size - 1 - before, PIECE // self.size):
            around += 0.0  # makes -0 and 0 one value, of which a minimum takes either
            result[at] = self._medians(around).transpose(1, 2, 3, 0)
        return result.reshape(batch.values.shape)

    def _medians(self, around: Array) -> Array:
        size, reach = self.size, self.size - 1
        lines, width = around.shape[2] - reach, around.shape[3] - reach
        column = [around[:, :, down : down + lines] for down in range(size)]
        _exchange(column, _sort(tuple(range(size))))
        places = [rank[..., right : right + width] for right in range(size) for rank in column]
        middle, exchanges = _middle_of_columns(size)
        _exchange(places, exchanges)
        return places[middle]


def _exchange(places: list[Array], exchanges: tuple[Exchange, ...]) -> None:
    for low, high in exchanges:
        smaller = np.minimum(places[low], places[high])
        places[high] = np.maximum(places[low], places[high])
        places[low] = smaller


@cache
def _middle_of_columns(size: int) -> tuple[int, tuple[Exchange, ...]]:
    """Where the median of `size` sorted columns is, after which exchanges."""
    columns = [tuple(range(start, start + size)) for start in range(0, size**2, size)]
    exchanges: list[Exchange] = []
    while len(columns) > 1:
        pairs = [_merge(one, other) for one, other in zip(columns[::2], columns[1::2], strict=False)]
        exchanges += [exchange for _, merging in pairs for exchange in merging]
        columns = [order for order, _ in pairs] + columns[len(pairs) * 2 :]
    middle = columns[0][size**2 // 2]
    needed, kept = {middle}, []
    for exchange in reversed(exchanges):
        if needed.intersection(exchange):
            needed.update(exchange)
            kept.append(exchange)
    return middle, tuple(reversed(kept))


def _sort(places: tuple[int, ...]) -> tuple[Exchange, ...]:
    """Sorts values into the order of their places, by insertion."""
    return tuple((at, at + 1) for last in range(1, len(places)) for at in reversed(range(last)))


def _merge(one: tuple[int, ...], other: tuple[int, ...]) -> tuple[tuple[int, ...], list[Exchange]]:
    """The places of two sorted runs in the order of the merged one, and the exchanges that merge (Batcher 1968)."""
    if not one or not other:
        return one + other, []
    if len(one) == len(other) == 1:
        return one + other, [(one[0], other[0])]
    odd, for_odd = _merge(one[::2], other[::2])
    even, for_even = _merge(one[1::2], other[1::2])
    last = list(zip(even, odd[1:], strict=False))
    order = [odd[0], *(place for pair in last for place in pair)]
    order += [*even[len(last) :], *odd[1 + len(last) :]]
    return tuple(order), for_odd + for_even + last
