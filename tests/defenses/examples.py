"""One's own defenses, as small as they can be. defenses/README.md shows this file."""

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from defenses.input import Batch, Content, InvalidInputError
from defenses.output import Scores, Semantics


class Threshold:
    """An input defense: values below a threshold become 0, and rows of nothing else are refused."""

    kind: ClassVar[str] = "threshold"
    takes: ClassVar[Content] = "numbers"  # or "bytes": an object array of bytes
    ranged: ClassVar[bool] = False  # True: needs the input's range, and the chain clips to it
    finite: ClassVar[bool] = True  # the chain refuses NaN and infinity before

    def __init__(self, lowest: float) -> None:
        if not 0 <= lowest <= 1:
            raise ValueError(f"lowest is {lowest}; write a number from 0 to 1")
        self.lowest = lowest

    def __call__(self, batch: Batch) -> Any:
        kept = np.where(np.abs(batch.values) < self.lowest, 0, batch.values)
        empty = ~kept.reshape(len(kept), -1).any(axis=1)
        if empty.any():
            raise InvalidInputError(f"row {int(empty.argmax())} is empty; send larger values")
        return kept


class Flatten:
    """An answer defense: each row moves a share of the way to the uniform one."""

    kind: ClassVar[str] = "flatten"
    preserves_argmax: ClassVar[bool] = True  # the chain enforces what is promised here
    applies_to: ClassVar[frozenset[Semantics]] = frozenset({Semantics.PROBABILITIES})

    def __init__(self, share: float) -> None:
        self.share = share

    def __call__(self, scores: Scores) -> Any:
        return scores.values * (1 - self.share) + self.share / scores.values.shape[1]


EXAMPLES: Mapping[str, type] = {"input": Threshold, "output": Flatten}
