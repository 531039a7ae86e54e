"""Each pixel from others whose surroundings look alike."""

from typing import ClassVar, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from defenses.input.base import Array, Batch, Content, Settings
from defenses.input.images import Floats, as_images, from_unit, pieces, to_unit


class NonLocalMeans(Settings):
    """Non-local means (Buades, Coll, Morel 2005), one of feature squeezing's squeezers (Xu et al. 2018).

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
        images = as_images(to_unit(batch))
        result = np.empty_like(images)
        for rows in pieces(images, 8):
            result[rows] = self._filtered(images[rows])
        return from_unit(result, batch)

    def _filtered(self, images: Floats) -> Floats:
        _, height, width, _ = images.shape
        reach, half = self.search // 2, self.patch // 2
        edge = reach + half
        padded = np.pad(images, ((0, 0), (edge, edge), (edge, edge), (0, 0)), mode="symmetric")
        around = padded[:, reach : reach + height + 2 * half, reach : reach + width + 2 * half]
        total = np.zeros_like(images)
        weights = np.zeros((*images.shape[:3], 1), dtype=images.dtype)
        scale = images.dtype.type(-1.0 / (self.strength**2 * self.patch**2 * images.shape[3]))
        for down in range(self.search):
            for right in range(self.search):
                shifted = padded[:, down : down + height + 2 * half, right : right + width + 2 * half]
                weight = np.exp(self._patch_sum(_squares(around, shifted), height, width) * scale)[..., np.newaxis]
                total += weight * shifted[:, half : half + height, half : half + width]
                weights += weight
        return total / weights

    def _patch_sum(self, squares: Floats, height: int, width: int) -> Floats:
        rows = squares[:, :height].copy()
        for down in range(1, self.patch):
            rows += squares[:, down : down + height]
        result = rows[:, :, :width].copy()
        for right in range(1, self.patch):
            result += rows[:, :, right : right + width]
        return result


def _squares(one: Floats, other: Floats) -> Floats:
    """Squared differences (rows, height, width), added up over the channels one by one, whatever the batch."""
    difference = one - other
    difference *= difference
    total: Floats = difference[..., 0].copy()
    for channel in range(1, difference.shape[3]):
        total += difference[..., channel]
    return total
