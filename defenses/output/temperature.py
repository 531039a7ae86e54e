"""A softer or sharper softmax."""

from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from defenses.output.scores import Rows, Scores, Settings, to_sum_one
from defenses.output.semantics import Semantics


class Temperature(Settings):
    """Divides logits by `temperature`: above 1 flattens, below 1 sharpens. The order of the classes stays.

    Probabilities p become p**(1/T) / sum(p**(1/T)), computed through logarithms so that nothing under- or overflows;
    zeros stay zeros. A binary probability has its log-odds relative to the threshold's divided, so that the threshold
    is the fixed point. The map can be undone by whoever knows T: it calibrates, and only what follows it hides.
    (Guo et al. 2017, arXiv 1706.04599, for temperature as calibration.)
    """

    kind: Literal["temperature"] = "temperature"
    temperature: float = Field(gt=0.0, le=1000.0, allow_inf_nan=False)

    preserves_argmax: ClassVar[bool] = True
    applies_to: ClassVar[frozenset[Semantics]] = frozenset(
        {Semantics.PROBABILITIES, Semantics.LOGITS, Semantics.BINARY}
    )

    def __call__(self, scores: Scores) -> Rows:
        if scores.semantics is Semantics.LOGITS:
            return scores.values / self.temperature
        if scores.semantics is Semantics.BINARY:
            centre = log_odds(np.float64(scores.threshold))
            return sigmoid(centre + (log_odds(scores.values) - centre) / self.temperature)
        logs = np.log(scores.values)
        return to_sum_one(np.exp((logs - logs.max(axis=1, keepdims=True)) / self.temperature))


def log_odds(p: Rows | np.float64) -> Rows:
    """log(p / (1 - p)); minus and plus infinity at 0 and 1."""
    odds: Rows = np.log(p) - np.log1p(-p)
    return odds


def sigmoid(x: Rows) -> Rows:
    """1 / (1 + exp(-x)), exact at both infinities, without overflow."""
    small = np.exp(-np.abs(x))
    positive: Rows = np.where(x >= 0.0, 1.0, small) / (1.0 + small)
    return positive
