"""Each row a little smaller, somewhere within its frame."""

from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from defenses.input.base import Array, Batch, Content, Settings
from defenses.input.images import Floats, as_images


class RandomResizePad(Settings):
    """Shrinks each row to a random size and puts it at a random place of an empty frame (Xie et al. 2018).

    The paper enlarges the frame, which a served model would not take; here the row shrinks, to a share of its size
    between `smallest` and 1, and the frame stays, filled with the range's lowest value. Resizing is linear. It confuses
    attacks that count on single pixels; expectation over the random sizes and places (EOT) passes it.
    """

    kind: Literal["random_resize_pad"] = "random_resize_pad"
    smallest: float = Field(default=0.85, gt=0, lt=1, description="share of height and width")

    takes: ClassVar[Content] = "numbers"
    ranged: ClassVar[bool] = True
    finite: ClassVar[bool] = True

    def __call__(self, batch: Batch) -> Array:
        images = as_images(batch.values)
        result = np.full_like(images, batch.range[0])
        if images[0].size:
            for row, generator in enumerate(batch.generators()):
                self._place(images[row], result[row], generator)
        return result.reshape(batch.values.shape)

    def _place(self, image: Floats, frame: Floats, generator: np.random.Generator) -> None:
        height, width, channels = image.shape
        share = generator.uniform(self.smallest, 1.0)
        tall, wide = max(1, round(height * share)), max(1, round(width * share))
        top, left = generator.integers(0, height - tall + 1), generator.integers(0, width - wide + 1)
        rows = _weights(tall, height, image.dtype) @ image.reshape(height, -1)
        across = rows.reshape(tall, width, channels).transpose(1, 0, 2).reshape(width, -1)
        resized = (_weights(wide, width, image.dtype) @ across).reshape(wide, tall, channels).transpose(1, 0, 2)
        frame[top : top + tall, left : left + wide] = resized


def _weights(small: int, large: int, dtype: "np.dtype[np.floating]") -> Floats:
    """(small, large): linear interpolation between pixel centres; every row sums to 1."""
    at = np.clip((np.arange(small) + 0.5) * large / small - 0.5, 0, large - 1)
    below = np.minimum(at.astype(np.intp), max(0, large - 2))
    share = at - below
    weights = np.zeros((small, large), dtype=dtype)
    weights[np.arange(small), below] = 1 - share
    weights[np.arange(small), np.minimum(below + 1, large - 1)] += share
    return weights
