"""What the numbers of an output mean, and the refusal to guess it.

Metadata narrows the possibilities; only the numbers themselves, or the operator, decide. A configured meaning is held
against every reply, so that a wrong one shows at the first reply instead of corrupting answers in silence.
"""

from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray


class Semantics(StrEnum):
    """The meaning of an output's numbers; the axes before the last are the batch."""

    PROBABILITIES = "probabilities"
    """Rows over at least two classes, each in [0, 1], that sum to 1."""
    LOGITS = "logits"
    """Rows over at least two classes that a softmax turns into probabilities."""
    BINARY = "binary"
    """Each number by itself is the probability of a yes (a sigmoid), whatever the shape."""
    VALUES = "values"
    """Each number by itself is a real value, as of a regression."""
    NEITHER = "neither"
    """Anything else; never touched."""


_NAMES = ", ".join(Semantics)
_OVER_CLASSES = frozenset({Semantics.PROBABILITIES, Semantics.LOGITS})
_SOFTMAX_ERROR = 1e-5
"""How far from 1 the row sums of a float32 softmax are at most; much closer than unrelated numbers come by chance."""
_UNDECIDED = 0.95
"""A row that sums to 1 because one entry is 1 proves little, as saturated sigmoids do it; its largest must be less."""


@dataclass(frozen=True, slots=True)
class OutputSpec:
    """One output as the model's signature describes it.

    Attributes:
        dtype: numpy's name of the element type ("float32", "bfloat16", "int64", "object" for strings).
        shape: sizes of the axes, None where unknown; None for an unknown rank.
    """

    name: str
    dtype: str
    shape: tuple[int | None, ...] | None
    method_name: str = ""
    signature: str = ""


@dataclass(frozen=True, slots=True)
class Unknown:
    """The meaning is not known: `candidates` are what metadata and values leave possible."""

    output: str
    candidates: tuple[Semantics, ...]
    reason: str

    def __str__(self) -> str:
        choices = "|".join(self.candidates)
        return (
            f"output {self.output!r}: {self.reason}, so what its numbers mean has to be said; "
            f"set outputs.{self.output}.semantics: {choices}"
        )


class SemanticsUnknownError(ValueError):
    """No meaning is configured and none can be proved; the text names the output and the remedy."""


class SemanticsMismatchError(ValueError):
    """The numbers contradict the configured meaning. The text is for the operator, never for a caller."""

    def __init__(self, output: str, semantics: Semantics, reason: str) -> None:
        self.output = output
        self.semantics = semantics
        self.reason = reason
        super().__init__(
            f"output {output!r} is configured as {semantics}, but {reason}; "
            f"set outputs.{output}.semantics to what it is ({_NAMES})"
        )


def is_float(dtype: np.dtype[Any] | str) -> bool:
    """True for float16, float32, float64 and the bfloat16 of ml_dtypes."""
    name = dtype if isinstance(dtype, str) else _name(dtype)
    return name in ("float16", "bfloat16", "float32", "float64")


@lru_cache(maxsize=64)
def _name(dtype: np.dtype[Any]) -> str:
    """numpy works it out each time."""
    return dtype.name


def sum_tolerance(dtype: np.dtype[Any]) -> float:
    """How far from 1 a row of probabilities of this type may sum; bfloat16 has 8 bits of precision, float16 11."""
    return 0.02 if dtype.itemsize == 2 else 1e-3


def infer(spec: OutputSpec, values: NDArray[Any] | None = None) -> Semantics | Unknown:
    """The meaning of an output, as far as it is certain.

    Integers, strings and booleans are `neither`. With `values` (a sample reply), rows that sum to 1 as closely as only
    a softmax makes them are `probabilities`. All else is `Unknown`: no value tells logits from other real numbers, and
    names prove nothing.
    """
    if not is_float(spec.dtype):
        return Semantics.NEITHER
    candidates = [meaning for meaning in Semantics if _impossible(spec, meaning) is None]
    if values is None or values.size == 0:
        return Unknown(spec.name, tuple(candidates), f"metadata says only {_describe(spec)}")
    wide = values.astype(np.float64)
    if Semantics.PROBABILITIES in candidates and _surely_distributions(wide):
        return Semantics.PROBABILITIES
    tolerance = sum_tolerance(values.dtype)
    left = tuple(meaning for meaning in candidates if contradiction(wide, meaning, tolerance) is None)
    return Unknown(spec.name, left, f"neither metadata ({_describe(spec)}) nor the sample's values prove it")


def resolve(spec: OutputSpec, configured: Semantics | None, values: NDArray[Any] | None = None) -> Semantics:
    """The meaning to work with: the configured one where metadata and `values` allow it, else the proved one.

    Raises:
        SemanticsMismatchError: the configured meaning is impossible.
        SemanticsUnknownError: nothing is configured and nothing is certain.
    """
    if configured is None:
        found = infer(spec, values)
        if isinstance(found, Unknown):
            raise SemanticsUnknownError(str(found))
        return found
    problem = _impossible(spec, configured)
    if problem is not None:
        raise SemanticsMismatchError(spec.name, configured, problem)
    if values is not None:
        check(values, configured, spec.name)
    return configured


def check(values: NDArray[Any], semantics: Semantics, output: str) -> None:
    """Holds one reply's numbers (..., classes) against their configured meaning. NaN and infinities say nothing.

    Raises:
        SemanticsMismatchError: the numbers cannot mean that.
    """
    if semantics is Semantics.NEITHER:
        return
    if not is_float(values.dtype):
        raise SemanticsMismatchError(output, semantics, f"its type is {values.dtype.name}, not a float")
    problem = contradiction(values.astype(np.float64), semantics, sum_tolerance(values.dtype))
    if problem is not None:
        raise SemanticsMismatchError(output, semantics, problem)


def contradiction(values: NDArray[np.float64], semantics: Semantics, tolerance: float) -> str | None:
    """Why `values` (..., classes) cannot have this meaning, or None. No rows, or no classes, contradict nothing.

    Numbers that do not mean probabilities are refused as soon as their rows are surely probability vectors: dividing
    or rounding such rows one by one would break them. By chance that hits one row of independent numbers in about
    100,000 at two classes, fewer at more.
    """
    if semantics is Semantics.NEITHER:
        return None
    if semantics in _OVER_CLASSES:
        problem = _class_axis(values.shape)
        if problem is not None:
            return problem
    if values.size == 0:
        return None
    if semantics is Semantics.PROBABILITIES:
        return _not_distributions(values, tolerance)
    if semantics is Semantics.BINARY:
        outside = (values < 0.0) | (values > 1.0)
        if outside.any():
            return f"{np.count_nonzero(outside)} of its {values.size} numbers are outside [0, 1]"
    if _surely_distributions(values):
        return "every row is in [0, 1] and sums to 1, as only probabilities do"
    return None


def _class_axis(shape: tuple[int | None, ...]) -> str | None:
    if len(shape) < 2:
        return "it has no axis of classes beside the batch (a sigmoid's output is binary)"
    if shape[-1] == 1:
        return "it has a single class (a sigmoid's output is binary)"
    return None


def _impossible(spec: OutputSpec, semantics: Semantics) -> str | None:
    """Why metadata alone rules a meaning out, or None."""
    if semantics is Semantics.NEITHER:
        return None
    if not is_float(spec.dtype):
        return f"its type is {spec.dtype}, not a float"
    if semantics in _OVER_CLASSES and spec.shape is not None:
        return _class_axis(spec.shape)
    return None


def _describe(spec: OutputSpec) -> str:
    if spec.shape is None:
        return f"{spec.dtype} of unknown rank"
    return f"{spec.dtype} ({', '.join('?' if size is None else str(size) for size in spec.shape)})"


def _not_distributions(values: NDArray[np.float64], tolerance: float) -> str | None:
    rows = values.reshape(-1, values.shape[-1])
    with np.errstate(invalid="ignore", over="ignore"):
        sums = rows.sum(axis=1)
        off = (np.abs(sums - 1.0) > tolerance) | (rows.min(axis=1) < 0.0)
    off &= np.isfinite(sums)
    if not off.any():
        return None
    first = int(off.argmax())
    if rows[first].min() < 0.0:
        return f"row {first} holds {rows[first].min():.4g}, less than 0"
    return f"row {first} sums to {sums[first]:.6g}"


def _surely_distributions(values: NDArray[np.float64]) -> bool:
    """All finite rows are probability vectors to a softmax' precision, and at least one is undecided."""
    if values.ndim < 2 or values.shape[-1] < 2:
        return False
    rows = values.reshape(-1, values.shape[-1])
    with np.errstate(invalid="ignore", over="ignore"):
        sums = rows.sum(axis=1)
    finite = np.isfinite(sums)
    if not finite.all():
        rows, sums = rows[finite], sums[finite]
    if rows.shape[0] == 0 or np.abs(sums - 1.0).max() > _SOFTMAX_ERROR or rows.min() < 0.0:
        return False
    return bool(rows.max(axis=1).min() <= _UNDECIDED)
