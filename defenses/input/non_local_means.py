"""Each pixel from others whose surroundings look alike."""

from typing import ClassVar, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from defenses.input.base import Array, Batch, Content, Settings
from defenses.input.images import Floats, as_images, from_levels, neighbourhoods, to_levels


class NonLocalMeans(Settings):
    """Non-local means (Buades, Coll, Morel 2005), one of feature squeezing's squeezers (Xu et al. 2018: 11-3-4).

    A pixel becomes the mean over a `search` x `search` window, weighted by exp(-d / strength**2), where d is the mean
    squared difference of the two pixels' `patch` x `patch` surroundings over all channels. Borders are mirrored. The
    work grows with search**2: bound the size of images (by the model's signature or the step `shape`) where callers
    choose it. It keeps edges, and smooth adversarial changes with them; BPDA passes it.
    """

    kind: Literal["non_local_means"] = "non_local_means"
    search: int = Field(default=11, ge=3, le=21, description="odd")
    patch: int = Field(default=3, ge=1, le=7, description="odd")
    strength: float = Field(default=0.1, gt=0, le=1, description="share of the range")

    takes: ClassVar[Content] = "numbers"
    ranged: ClassVar[bool] = True
    finite: ClassVar[bool] = True

    @model_validator(mode="after")
    def _odd(self) -> Self:
        for name in ("search", "patch"):
            value = getattr(self, name)
            if value % 2 == 0:
                raise ValueError(f"{name} is {value}; write an odd number, so that the window has a middle")
        return self

    def __call__(self, batch: Batch) -> Array:
        images = as_images(to_levels(batch))
        edge = self.search // 2 + self.patch // 2
        result = np.empty_like(images)
        for at, around in neighbourhoods(images, edge, edge):
            result[at] = self._means(around).transpose(1, 2, 3, 0)
        return from_levels(result, batch)

    def _means(self, around: Floats) -> Floats:
        """(channels, rows, lines, width) from the same with an edge around it."""
        reach = self.search // 2
        edge = reach + self.patch // 2
        height, width = around.shape[2] - 2 * edge, around.shape[3] - 2 * edge

        def moved(down: int, right: int) -> Floats:
            return around[:, :, edge + down : edge + down + height, edge + right : edge + right + width]

        total = moved(0, 0).copy()
        weights = np.ones((*around.shape[1:2], height, width), dtype=around.dtype)
        ahead = [(down, right) for down in range(reach + 1) for right in range(-reach, reach + 1)][reach + 1 :]
        for down, right in ahead:
            # The weight of two pixels is the same both ways, so each serves the pixel ahead and the one behind.
            weight = self._weights(around, down, right)
            left = max(0, right)
            for lines, columns, pixels in (
                (down, left, moved(down, right)),
                (0, left - right, moved(-down, -right)),
            ):
                one = weight[:, lines : lines + height, columns : columns + width]
                weights += one
                total += one * pixels
        total /= weights
        return total

    def _weights(self, around: Floats, down: int, right: int) -> Floats:
        """(rows, lines + down, width + |right|): of each pixel, from the first that is behind another, and its next."""
        half, reach = self.patch // 2, self.search // 2
        lines, columns = around.shape[2] - 2 * reach + down, around.shape[3] - 2 * reach + abs(right)
        top, left = reach - down, reach - max(0, right)
        pixels = around[:, :, top : top + lines, left : left + columns]
        difference = pixels - around[:, :, reach : reach + lines, left + right : left + right + columns]
        difference *= difference
        squares = difference.sum(axis=0)
        summed = _sums(_sums(squares, 2 * half, axis=1), 2 * half, axis=2)
        summed *= around.dtype.type(-1.0 / (self.strength**2 * self.patch**2 * len(around)))
        weights: Floats = np.exp(summed, out=summed)
        return weights


def _sums(values: Floats, more: int, axis: int) -> Floats:
    """Each value and as many `more` that follow it along an axis, which becomes so much shorter."""
    if not more:
        return values
    size = values.shape[axis] - more
    parts = [values[(slice(None),) * axis + (slice(start, start + size),)] for start in range(more + 1)]
    result = parts[0] + parts[1]
    for part in parts[2:]:
        result += part
    return result
