"""What an input defense is: a small callable that holds its own checked settings and gets well-formed rows."""

from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

Array = NDArray[Any]
Seeds = NDArray[np.uint64]
"""(rows,): one secret number a row, from which all randomness of that row comes."""

Content = Literal["numbers", "bytes"]
"""What a step works on: numbers of any real type, or strings of bytes (encoded images, text)."""


class InvalidInputError(ValueError):
    """Rows that a step does not accept. The caller reads the text: it names the row, the value and the remedy."""


@dataclass(frozen=True, slots=True)
class Batch:
    """What a chain hands to a step. Read-only; a row's result may depend on nothing but that row and its seed.

    Attributes:
        values: (rows, ...), at least one row. Numbers come as float32, or float64 where the input's own type is wider
            than float32 can hold; strings as an object array of bytes.
        seeds: (rows,), different for every step of a chain and for every call.
        range: the lowest and the highest value of the input; all values lie within. Set if the step is `ranged`.
    """

    values: Array
    seeds: Seeds
    range: tuple[float, float] = (0.0, 0.0)

    def generators(self) -> list[np.random.Generator]:
        """One generator a row."""
        return [np.random.Generator(np.random.SFC64(int(seed))) for seed in self.seeds]


class InputDefense(Protocol):
    """One step of a chain. Implementations are pure and return a new array of the shape of `values`.

    The chain takes care of the input's own type and range, of empty batches and, unless `finite` is False, of NaN and
    infinity, so that no step has to.
    """

    @property
    def kind(self) -> str:
        """What the step is called in configuration and messages."""

    @property
    def takes(self) -> Content:
        """What it works on."""

    @property
    def ranged(self) -> bool:
        """Whether it has to know the input's range."""

    @property
    def finite(self) -> bool:
        """Whether it needs finite numbers; rows with NaN or infinity are then refused before they reach it."""

    def __call__(self, batch: Batch) -> Array:
        """New values: numbers as floats, strings as an object array of bytes.

        Raises:
            InvalidInputError: rows that cannot be cleaned.
        """


STEP_NEEDS = ("kind", "takes", "ranged", "finite")
"""What somebody else's step has to have beside being callable."""


class Settings(BaseModel):
    """Settings of a built-in defense: frozen, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def row_seeds(rng: np.random.Generator, rows: int) -> Seeds:
    """Fresh seeds (rows,) from a secret generator of 64-bit numbers, as numpy's default is."""
    return rng.bit_generator.random_raw(rows)  # what `integers` would draw, without its preparations
