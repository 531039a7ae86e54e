"""The predicted class and nothing else."""

from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from defenses.output.scores import Rows, Scores, Settings
from defenses.output.semantics import Semantics

MARGIN = 20.0
"""The winner's logit, the others' being 0: a softmax over 1,000 classes gives it 0.999998."""


class LabelOnly(Settings):
    """Probabilities become one-hot, logits 20 for the predicted class and 0 for the others, binary ones 0 or 1.

    A binary probability that is exactly the threshold stays there: which side counts as a yes is the client's rule.
    """

    kind: Literal["label_only"] = "label_only"

    preserves_argmax: ClassVar[bool] = True
    applies_to: ClassVar[frozenset[Semantics]] = frozenset(
        {Semantics.PROBABILITIES, Semantics.LOGITS, Semantics.BINARY}
    )

    def __call__(self, scores: Scores) -> Rows:
        if scores.semantics is Semantics.BINARY:
            return sides(scores.values, scores.threshold)
        return labels(scores.winner, scores.values.shape[1], scores.semantics)


def labels(winner: NDArray[np.intp], classes: int, semantics: Semantics) -> Rows:
    """Rows (len(winner), classes) that say the class only."""
    rows = np.zeros((len(winner), classes))
    rows[np.arange(len(rows)), winner] = MARGIN if semantics is Semantics.LOGITS else 1.0
    return rows


def sides(values: Rows, threshold: float) -> Rows:
    """0 below the threshold, 1 above it, the threshold itself at it."""
    return np.where(values < threshold, 0.0, np.where(values > threshold, 1.0, threshold))
