"""Steps in order on one input, with the promises that hold for all of them: shape, type, range, rows by themselves."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from defenses.input.base import Array, Batch, InputDefense, InvalidInputError, Seeds

_MIX = 0x9E3779B97F4A7C15
"""2**64 divided by the golden ratio: gives every step of a chain other seeds."""


@dataclass(frozen=True, slots=True)
class InputChain:
    """Steps for the input named `name`.

    Attributes:
        steps: applied in order.
        range: the lowest and the highest value that the model expects; values outside are clipped before the first
            step that needs the range. A step `range` before it refuses them instead.
        shape: of one row as the steps see it, where the input comes flat, as in a tf.Example; None: as it comes.

    Raises:
        ValueError: a step needs the range and none is given, or steps for numbers and for bytes are mixed.
    """

    name: str
    steps: tuple[InputDefense, ...]
    range: tuple[float, float] | None = None
    shape: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        contents = {step.takes for step in self.steps}
        if len(contents) > 1:
            raise ValueError(f"input {self.name!r}: steps for numbers and for bytes cannot be mixed; keep one kind")
        if self.range is None:
            ranged = [step.kind for step in self.steps if step.ranged]
            if ranged:
                raise ValueError(
                    f"input {self.name!r}: {ranged[0]} has to know the range of the values; set range, such as "
                    "[0, 1] or [0, 255]"
                )
        elif not (math.isfinite(self.range[0]) and math.isfinite(self.range[1]) and self.range[0] < self.range[1]):
            raise ValueError(f"input {self.name!r}: range is {list(self.range)}; write [LOWEST, HIGHEST]")

    def __call__(self, values: Array, seeds: Seeds) -> Array:
        """Cleans one batch.

        Args:
            values: (rows, ...), numbers of a real type or an object array of bytes. Never changed.
            seeds: (rows,), see `base.row_seeds`; any, if there are no values.

        Returns:
            An array of the same shape and dtype; elements that no step changed are bit for bit what they were.

        Raises:
            InvalidInputError: rows that cannot be cleaned.
            ValueError: there is another number of seeds than of rows.
        """
        if not self.steps:
            return values
        self._check(values)
        if values.size == 0:
            return values
        if seeds.shape != values.shape[:1]:
            raise ValueError(f"seeds have the shape {seeds.shape}; {len(values)} rows need ({len(values)},)")
        rows = self._shaped(values)
        for number, step in enumerate(self.steps, start=1):
            rows = self._applied(step, rows, seeds ^ np.uint64(_MIX * number % 2**64))
        return rows.reshape(values.shape)

    def _check(self, values: Array) -> None:
        step = self.steps[0]
        if step.takes == "bytes" and values.dtype != object:
            raise InvalidInputError(f"{step.kind} takes strings of bytes, not {values.dtype.name}; send DT_STRING")
        if step.takes == "numbers" and values.dtype.kind not in "fiu":
            sent = {"O": "strings", "b": "booleans", "c": "complex numbers"}.get(values.dtype.kind, values.dtype.name)
            raise InvalidInputError(f"{step.kind} takes numbers, not {sent}; send the dtype of the model's signature")
        if values.ndim == 0:
            raise InvalidInputError("a scalar has no rows; send a batch, rows first")

    def _shaped(self, values: Array) -> Array:
        if self.shape is None:
            return values
        wanted = math.prod(self.shape)
        got = math.prod(values.shape[1:])
        if got != wanted:
            raise InvalidInputError(f"a row has {got} values; {wanted} are expected, as {list(self.shape)}")
        return values.reshape(-1, *self.shape)

    def _applied(self, step: InputDefense, values: Array, seeds: Seeds) -> Array:
        if values.dtype == object:
            after = step(Batch(_read_only(values), seeds))
            return self._same_shape(step, after, values)
        before = working = values.astype(working_dtype(values.dtype), copy=False)
        if step.finite:
            _refuse_non_finite(before)
        if step.ranged and self.range is not None:
            working = clipped(before, *self.range)
        batch = Batch(_read_only(working), seeds, self.range or (0.0, 0.0))
        after = self._same_shape(step, step(batch), values)
        if step.ranged and self.range is not None:
            after = clipped(after, *self.range)
        same = after == before
        if not step.finite:
            same |= (after != after) & (before != before)
        return np.where(same, values, to_dtype(after, values.dtype))

    def _same_shape(self, step: InputDefense, after: Array, values: Array) -> Array:
        if after.shape != values.shape:
            raise ValueError(f"input {self.name!r}: {step!r} returned the shape {after.shape}, not {values.shape}")
        return after


def working_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """What numbers of a type are worked on as: float32 where that holds them all, else float64."""
    exact = dtype.itemsize <= 2 or dtype == np.float32
    return np.dtype(np.float32 if exact else np.float64)


def clipped(values: Array, low: float, high: float) -> Array:
    """As `numpy.clip`, which takes a while to find out what it was given."""
    return np.minimum(np.maximum(values, low), high)


def to_dtype(values: Array, dtype: np.dtype[Any]) -> Array:
    """The nearest numbers of a type; whole ones for integers, halves to even. Beyond its range, its last finite one.

    NaN and infinities stay in float types; in integers NaN becomes 0, which a step should not let happen.
    """
    if values.dtype == dtype:
        return values
    if dtype.kind == "f":
        limits = np.finfo(dtype)
        inside = np.clip(values, float(limits.min), float(limits.max))
        return np.where(np.isfinite(values), inside, values).astype(dtype)
    info = np.iinfo(dtype)
    whole = np.rint(np.nan_to_num(values, nan=0.0))
    # The largest int64 and uint64 are no floats: what reaches them is set, not converted.
    inside = np.clip(whole, float(info.min), np.nextafter(float(info.max), 0.0, dtype=np.float64))
    return np.where(whole >= float(info.max), info.max, inside.astype(dtype)).astype(dtype)


def _refuse_non_finite(values: Array) -> None:
    finite = np.isfinite(values)
    if not finite.all():
        row = int((~finite.reshape(len(values), -1).all(axis=1)).argmax())
        found = values[row][~np.isfinite(values[row])].flat[0]
        raise InvalidInputError(f"row {row} holds {found}; send finite numbers")


def _read_only(values: Array) -> Array:
    view = values.view()
    view.flags.writeable = False
    return view
