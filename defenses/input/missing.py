"""Values that are not there, and values that are no numbers."""

from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from defenses.input.base import Array, Batch, Content, InvalidInputError
from defenses.input.columns import ColumnRule, first, one_of

Policy = Literal["refuse", "replace", "keep"]


class Missing(ColumnRule):
    """What to do with NaN, with the `sentinels` that stand for a missing value (-999, say), and with infinities.

    `replace` puts `fill` in their place. Write this step before `range` and `quantise`; sentinels that are kept belong
    into their `skip`. NaN spreads through a model and can turn a comparison of scores into nonsense.
    """

    kind: Literal["missing"] = "missing"
    nan: Policy = Field(default="refuse", description="for NaN and sentinels")
    infinity: Policy = "refuse"
    sentinels: tuple[float, ...] = Field(default=(), max_length=64)
    fill: float = Field(default=0.0, allow_inf_nan=False)

    takes: ClassVar[Content] = "numbers"
    ranged: ClassVar[bool] = False
    finite: ClassVar[bool] = False

    def __call__(self, batch: Batch) -> Array:
        values = batch.values
        selected = self.selected(values)
        absent = selected & (np.isnan(values) | one_of(values, self.sentinels))
        endless = selected & np.isinf(values)
        replaced = np.zeros(values.shape, dtype=np.bool_)
        for marked, policy in ((absent, self.nan), (endless, self.infinity)):
            if policy == "refuse" and marked.any():
                raise InvalidInputError(f"{first(marked, values)}; send a number in its place")
            if policy == "replace":
                replaced |= marked
        return np.where(replaced, values.dtype.type(self.fill), values)
