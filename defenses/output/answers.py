"""A chain of answer defenses for one output of a model."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from defenses.output.keys import position_keys
from defenses.output.scores import AnswerDefense, Keys, Rows, Scores
from defenses.output.semantics import Semantics, SemanticsMismatchError, contradiction, is_float, sum_tolerance
from defenses.output.settle import settle_binary, settle_classes, settle_values

_ELEMENTWISE = frozenset({Semantics.BINARY, Semantics.VALUES})


class Hardened(NamedTuple):
    """An answer, with the rows (axes before the last taken together) that an operator may want to count.

    Attributes:
        values: of the shape and dtype that came in; the very same array when there was nothing to do.
        passed: rows that the model answered with NaN or infinity and that passed untouched. Of binary outputs and
            values, only the numbers themselves pass.
        repaired: rows that the promise had to repair. Single ones are rounding to the output's type.
    """

    values: NDArray[Any]
    passed: int = 0
    repaired: int = 0


@dataclass(frozen=True, slots=True)
class Chain:
    """Steps for the output named `output`, applied in order, and the promise on top of them.

    If all steps preserve the argmax, so does the chain: the first maximum of each row stays the first maximum and does
    not gain an equal; a binary probability stays on its side of `threshold`. `settle` enforces it row by row.

    Raises:
        ValueError: a step does not apply to this meaning, or the threshold is not between 0 and 1.
    """

    output: str
    semantics: Semantics
    steps: tuple[AnswerDefense, ...]
    threshold: float = 0.5

    def __post_init__(self) -> None:
        if not 0.0 < self.threshold < 1.0:
            raise ValueError(f"output {self.output!r}: threshold is {self.threshold}; it has to be between 0 and 1")
        for step in self.steps:
            if self.semantics not in step.applies_to:
                can = ", ".join(sorted(step.applies_to))
                raise ValueError(
                    f"output {self.output!r}: {step!r} does not apply to {self.semantics}, only to {can}; remove it, "
                    f"or correct outputs.{self.output}.semantics"
                )

    @property
    def preserves_argmax(self) -> bool:
        return all(step.preserves_argmax for step in self.steps)

    def __call__(self, values: NDArray[Any], keys: Keys) -> Hardened:
        """Hardens one reply.

        Args:
            values: (rows, classes), (rows, ..., classes), or for binary and values any shape with the rows first;
                float16, bfloat16, float32 or float64.
            keys: (rows,), from `keys.row_keys`; (1,) for a scalar.

        Raises:
            SemanticsMismatchError: the numbers do not mean what is configured. Nothing has been changed.
            ValueError: `keys` has another length than the batch.
        """
        if not self.steps:
            return Hardened(values)
        if not is_float(values.dtype):
            raise SemanticsMismatchError(self.output, self.semantics, f"its type is {values.dtype.name}, not a float")
        rows = values.shape[0] if values.ndim else 1
        if keys.shape != (rows,):
            raise ValueError(f"keys have the shape {keys.shape}; the output has {rows} rows and needs ({rows},)")
        wide = values.astype(np.float64)
        problem = contradiction(wide, self.semantics, sum_tolerance(values.dtype))
        if problem is not None:
            raise SemanticsMismatchError(self.output, self.semantics, problem)
        if values.size == 0:
            return Hardened(values)
        # Infinities on the way are limits, as log(0); what is left of them at the end is repaired.
        with np.errstate(all="ignore"):
            if self.semantics in _ELEMENTWISE:
                hardened = self._each(values.reshape(rows, -1), wide.reshape(rows, -1), keys)
            else:
                classes = values.shape[-1]
                by_position = position_keys(keys, values.size // (classes * rows))
                hardened = self._rows(values.reshape(-1, classes), wide.reshape(-1, classes), by_position)
        return hardened._replace(values=hardened.values.reshape(values.shape))

    def _rows(self, before: NDArray[Any], wide: Rows, keys: Keys) -> Hardened:
        finite = np.isfinite(wide).all(axis=1)
        if finite.all():
            winner = wide.argmax(axis=1)
            after = self._run(wide, winner, keys)
            settled, repaired = settle_classes(before, after, winner, self.semantics, promised=self.preserves_argmax)
            return Hardened(settled, 0, int(repaired.sum()))
        values = before.copy()
        inner = Hardened(values)
        if finite.any():
            inner = self._rows(before[finite], wide[finite], keys[finite])
            values[finite] = inner.values
        return Hardened(values, int((~finite).sum()), inner.repaired)

    def _each(self, before: NDArray[Any], wide: Rows, keys: Keys) -> Hardened:
        finite = np.isfinite(wide)
        filler = 0.0 if self.semantics is Semantics.VALUES else self.threshold
        after = self._run(np.where(finite, wide, filler), np.zeros(len(wide), dtype=np.intp), keys)
        if self.semantics is Semantics.VALUES:
            settled, repaired = settle_values(before, after)
        else:
            settled, repaired = settle_binary(before, after, self.threshold, promised=self.preserves_argmax)
        return Hardened(np.where(finite, settled, before), int((~finite).any(axis=1).sum()), int(repaired.sum()))

    def _run(self, wide: Rows, winner: NDArray[np.intp], keys: Keys) -> Rows:
        shape = wide.shape
        for step in self.steps:
            wide.flags.writeable = False
            wide = step(Scores(wide, self.semantics, winner, keys, self.threshold))
            if wide.shape != shape:
                raise ValueError(f"output {self.output!r}: {step!r} returned the shape {wide.shape}, not {shape}")
        return wide


def harden_lists(chain: Chain, rows: Sequence[Sequence[float]], keys: Keys) -> list[list[float]]:
    """Scores of Classify results: one list a row, whose lengths may differ, in and out.

    No class is dropped and none changes its place, also by top_k: TensorFlow Serving answers with all classes in the
    model's order, labels may be empty, and a client may know a class by its place alone. Scores are float32, as in the
    message. A signature without scores needs no chain (its
    scores are all 0).

    Raises:
        SemanticsMismatchError: as `Chain`.
    """
    hardened: list[list[float]] = [list(row) for row in rows]
    for length in {len(row) for row in rows}:
        at = [i for i, row in enumerate(rows) if len(row) == length]
        same = np.array([rows[i] for i in at], dtype=np.float32)
        for i, row in zip(at, chain(same, keys[at]).values.tolist(), strict=True):
            hardened[i] = row
    return hardened
