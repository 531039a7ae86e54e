"""A little noise on every query."""

from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from defenses.input.base import Array, Batch, Content, Settings


class RandomNoise(Settings):
    """Adds Gaussian noise of a standard deviation of `sigma` times the range (RND: Qin et al. 2021).

    It works value by value, so rows may have any shape. Small noise costs little accuracy and misleads black-box
    searches, which compare answers to nearly equal inputs. A caller who asks several times and averages, or an attack
    with expectation over the noise (EOT), passes it; that costs them rows, which limits count.
    """

    kind: Literal["random_noise"] = "random_noise"
    sigma: float = Field(default=0.02, gt=0, le=1, description="share of the range")

    takes: ClassVar[Content] = "numbers"
    ranged: ClassVar[bool] = True
    finite: ClassVar[bool] = True

    def __call__(self, batch: Batch) -> Array:
        values = batch.values
        kind = np.float32 if values.dtype == np.float32 else np.float64
        noise = np.empty_like(values)
        for row, generator in enumerate(batch.generators()):
            noise[row] = generator.standard_normal(values.shape[1:], dtype=kind)
        noise *= kind(self.sigma * (batch.range[1] - batch.range[0]))
        noise += values
        return np.clip(noise, *batch.range, out=noise)
