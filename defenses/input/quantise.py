"""Values on a grid."""

from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from defenses.input.base import Array, Batch, Content
from defenses.input.columns import ColumnRule, one_of


class Quantise(ColumnRule):
    """Rounds values to `offset` plus a whole multiple of `step`, halves to the even multiple.

    As bit depth for numbers without a range: changes smaller than half a step vanish, and a search that needs small
    differences learns nothing from them. An attacker takes larger steps.
    """

    kind: Literal["quantise"] = "quantise"
    step: float = Field(gt=0, allow_inf_nan=False)
    offset: float = Field(default=0.0, allow_inf_nan=False)
    skip: tuple[float, ...] = Field(default=(), max_length=64, description="values left as they are, as for `missing`")

    takes: ClassVar[Content] = "numbers"
    ranged: ClassVar[bool] = False
    finite: ClassVar[bool] = False

    def __call__(self, batch: Batch) -> Array:
        values = batch.values
        wide = values.astype(np.float64)
        with np.errstate(over="ignore"):
            on_grid = np.rint((wide - self.offset) / self.step) * self.step + self.offset
        wanted = self.selected(values) & np.isfinite(on_grid) & ~one_of(values, self.skip)
        return np.where(wanted, on_grid, wide).astype(values.dtype)
