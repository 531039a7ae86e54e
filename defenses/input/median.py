"""The median of a small neighbourhood."""

from typing import ClassVar, Literal

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from pydantic import Field

from defenses.input.base import Array, Batch, Content, Settings
from defenses.input.images import PIECE, as_images, pieces


class Median(Settings):
    """Each pixel becomes the median of a `size` x `size` window, channel by channel (Xu et al. 2018).

    Borders are mirrored. A window of an even size reaches one pixel further up and to the left, and of its two middle
    values the larger is taken, so that no new values come about. It removes isolated strong changes (L0 attacks) well
    and smooth ones badly; BPDA passes it.
    """

    kind: Literal["median"] = "median"
    size: int = Field(ge=2, le=9)

    takes: ClassVar[Content] = "numbers"
    ranged: ClassVar[bool] = False
    finite: ClassVar[bool] = True

    def __call__(self, batch: Batch) -> Array:
        images = as_images(batch.values)
        result = np.empty_like(images)
        for rows in pieces(images, self.size**2):
            result[rows] = self._filtered(images[rows])
        return result.reshape(batch.values.shape)

    def _filtered(self, images: Array) -> Array:
        before = self.size // 2
        after = self.size - 1 - before
        padded = np.pad(images, ((0, 0), (before, after), (before, after), (0, 0)), mode="symmetric")
        height, area = images.shape[1], self.size**2
        result = np.empty_like(images)
        strip = max(1, PIECE // max(1, images[:, :1].size * area))
        for top in range(0, height, strip):
            bottom = min(height, top + strip)
            windows = sliding_window_view(padded[:, top : bottom + self.size - 1], (self.size, self.size), axis=(1, 2))
            flat = windows.reshape(*windows.shape[:4], area)
            result[:, top:bottom] = np.partition(flat, area // 2, axis=-1)[..., area // 2]
        return result
