"""Bounds on values."""

from typing import ClassVar, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from defenses.input.base import Array, Batch, Content, InvalidInputError
from defenses.input.columns import ColumnRule, first, one_of


class Range(ColumnRule):
    """Refuses rows with values outside [low, high], or clips them; NaN is the business of the step `missing`.

    Values that no honest caller sends are the cheapest sign of a mistake or an attack. It stops nothing that stays
    within the range, as adversarial examples do.
    """

    kind: Literal["range"] = "range"
    low: float | None = Field(default=None, allow_inf_nan=False)
    high: float | None = Field(default=None, allow_inf_nan=False)
    outside: Literal["refuse", "clip"] = "refuse"
    skip: tuple[float, ...] = Field(default=(), max_length=64, description="values left as they are, as for `missing`")

    takes: ClassVar[Content] = "numbers"
    ranged: ClassVar[bool] = False
    finite: ClassVar[bool] = False

    @model_validator(mode="after")
    def _bounds(self) -> Self:
        if self.low is None and self.high is None:
            raise ValueError("range has neither low nor high; set at least one of them")
        if self.low is not None and self.high is not None and self.low > self.high:
            raise ValueError(f"low is {self.low} and high is {self.high}; low may not be above high")
        return self

    def __call__(self, batch: Batch) -> Array:
        values = batch.values
        low = -np.inf if self.low is None else self.low
        high = np.inf if self.high is None else self.high
        outside = self.selected(values) & ((values < low) | (values > high)) & ~one_of(values, self.skip)
        if outside.any() and self.outside == "refuse":
            raise InvalidInputError(f"{first(outside, values)}; {self._wanted()}")
        return np.where(outside, np.clip(values, low, high), values)

    def _wanted(self) -> str:
        if self.low is None:
            return f"send values up to {self.high:g}"
        return f"send values from {self.low:g}" + ("" if self.high is None else f" to {self.high:g}")
