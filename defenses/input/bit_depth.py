"""Fewer levels of brightness."""

from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from defenses.input.base import Array, Batch, Content, Settings
from defenses.input.images import from_unit, to_unit


class BitDepth(Settings):
    """Rounds every value to one of 2**bits levels, spread evenly over the range (Xu et al. 2018, feature squeezing).

    It takes away perturbations smaller than half a level. Larger ones pass, and since it is a staircase without a
    gradient, an attacker replaces it by the identity in the backward pass (BPDA, Athalye et al. 2018) and gets through.
    """

    kind: Literal["bit_depth"] = "bit_depth"
    bits: int = Field(ge=1, le=16)

    takes: ClassVar[Content] = "numbers"
    ranged: ClassVar[bool] = True
    finite: ClassVar[bool] = True

    def __call__(self, batch: Batch) -> Array:
        steps = 2**self.bits - 1
        unit = to_unit(batch)
        unit *= steps
        np.rint(unit, out=unit)
        unit /= steps
        return from_unit(unit, batch)
