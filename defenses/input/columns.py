"""Which columns of the last axis a tabular step is about."""

from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from defenses.input.base import Array, InvalidInputError, Settings

Column = Annotated[int, Field(ge=0)]
Columns = Annotated[tuple[Column, ...], Field(min_length=1, max_length=10_000)]


class ColumnRule(Settings):
    """A step on some columns, or on all."""

    columns: Columns | None = Field(default=None, description="positions on the last axis; all if absent")

    def selected(self, values: Array) -> NDArray[np.bool_]:
        """Marks the values (rows, ...) that the step is about.

        Raises:
            InvalidInputError: the rows have fewer columns.
        """
        if self.columns is None:
            return np.ones(values.shape, dtype=np.bool_)
        have = values.shape[-1] if values.ndim > 1 else 1
        if max(self.columns) >= have:
            raise InvalidInputError(f"a row has {have} columns, and column {max(self.columns)} is expected")
        mask = np.zeros(have, dtype=np.bool_)
        mask[list(self.columns)] = True
        return np.broadcast_to(mask if values.ndim > 1 else mask[0], values.shape)


def one_of(values: Array, numbers: tuple[float, ...]) -> NDArray[np.bool_]:
    """Marks the values that are one of these numbers, as far as their own type can hold it."""
    return np.isin(values, np.array(numbers, dtype=values.dtype))


def first(marked: NDArray[np.bool_], values: Array) -> str:
    """Says where the first marked value stands and what it is."""
    at = np.unravel_index(int(marked.argmax()), marked.shape)
    column = f", column {at[-1]}" if len(at) > 1 else ""
    return f"row {at[0]}{column} holds {values[at]:.6g}"
