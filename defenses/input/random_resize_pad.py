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
        height, width = image.shape[:2]
        share = generator.uniform(self.smallest, 1.0)
        tall, wide = max(1, round(height * share)), max(1, round(width * share))
        top, left = generator.integers(0, height - tall + 1), generator.integers(0, width - wide + 1)
        lines = _resized(image, tall)
        frame[top : top + tall, left : left + wide] = _resized(lines.swapaxes(0, 1), wide).swapaxes(0, 1)


def _resized(values: Floats, size: int) -> Floats:
    """The first axis shrunk to `size` by linear interpolation between the centres of pixels."""
    last = len(values) - 1
    at = np.clip((np.arange(size) + 0.5) * len(values) / size - 0.5, 0, last)
    below = at.astype(np.intp)
    share = (at - below).astype(values.dtype).reshape(-1, *(1,) * (values.ndim - 1))
    result: Floats = values[below] * (1 - share)
    result += values[np.minimum(below + 1, last)] * share
    return result
