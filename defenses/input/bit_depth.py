"""Fewer levels of brightness."""

from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from defenses.input.base import Array, Batch, Content, Settings
from defenses.input.images import from_levels, to_levels


class BitDepth(Settings):
    """Rounds every value to one of 2**bits levels, spread evenly over the range (Xu et al. 2018, feature squeezing).

    It works value by value, so rows may have any shape. It takes away perturbations smaller than half a level. Larger
    ones pass, and since it is a staircase without a gradient, an attacker replaces it by the identity in the backward
    pass (BPDA, Athalye et al. 2018) and gets through.
    """

    kind: Literal["bit_depth"] = "bit_depth"
    bits: int = Field(ge=1, le=16)

    takes: ClassVar[Content] = "numbers"
    ranged: ClassVar[bool] = True
    finite: ClassVar[bool] = True

    def __call__(self, batch: Batch) -> Array:
        highest = 2**self.bits - 1
        levels = to_levels(batch, highest)
        np.rint(levels, out=levels)
        return from_levels(levels, batch, highest)
