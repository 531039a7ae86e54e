"""One of several ways, drawn for each row."""

from typing import TYPE_CHECKING, Annotated, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from defenses.imported import loaded
from defenses.input.base import STEP_NEEDS, Array, Batch, Content, InputDefense, Settings

if TYPE_CHECKING:
    from defenses.input import InputStep


class Choice(Settings):
    """Sends each row through one of several lists of steps, drawn from the row's own secret seed.

    A caller can neither foresee nor repeat the draw. An attacker who averages over it (EOT, Athalye et al. 2018) pays
    with more queries and passes, so it is a cost, not a wall. An empty list leaves its rows as they are.
    """

    kind: Literal["choice"] = "choice"
    of: Annotated[
        tuple[Annotated[tuple["InputStep", ...], Field(max_length=16)], ...], Field(min_length=2, max_length=16)
    ]

    @property
    def takes(self) -> Content:
        return next((step.takes for steps in self._alternatives() for step in steps), "numbers")

    @property
    def ranged(self) -> bool:
        return any(step.ranged for steps in self._alternatives() for step in steps)

    @property
    def finite(self) -> bool:
        return any(step.finite for steps in self._alternatives() for step in steps)

    @model_validator(mode="after")
    def _alike(self) -> Self:
        contents = {step.takes for steps in self._alternatives() for step in steps}
        if len(contents) != 1:
            raise ValueError("of: the alternatives have to have steps, all for numbers or all for bytes")
        return self

    def __call__(self, batch: Batch) -> Array:
        chosen = np.array([generator.integers(len(self.of)) for generator in batch.generators()])
        result = batch.values.copy()
        for number, steps in enumerate(self._alternatives()):
            rows = chosen == number
            if steps and rows.any():
                result[rows] = self._run(steps, Batch(batch.values[rows], batch.seeds[rows], batch.range))
        return result

    def _alternatives(self) -> tuple[tuple[InputDefense, ...], ...]:
        return tuple(tuple(loaded(step, STEP_NEEDS) for step in steps) for steps in self.of)

    def _run(self, steps: tuple[InputDefense, ...], batch: Batch) -> Array:
        values = batch.values
        for number, step in enumerate(steps, start=1):
            values = step(Batch(values, batch.seeds + np.uint64(number), batch.range))
            if step.ranged:
                values = np.clip(values, *batch.range).astype(batch.values.dtype, copy=False)
        return values
