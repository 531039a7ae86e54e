"""Deceptive probabilities (Lee, Edwards, Molloy, Su 2018, arXiv 1806.00054)."""

from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from defenses.output.scores import Rows, Scores, Settings, crown, keep_side, to_sum_one
from defenses.output.semantics import Semantics
from defenses.output.temperature import log_odds, sigmoid

_SMALLEST = 1e-7
"""Probabilities are clipped to [1e-7, 1 - 1e-7], about a float32's resolution below 1, before their log-odds."""


class ReverseSigmoid(Settings):
    """Takes beta * (sigmoid(gamma * logit(p)) - 1/2) from each probability p and scales the row to sum to 1.

    The map has no inverse: several rows give the same answer, and a surrogate trained on it learns slowly. `beta` is
    the magnitude, `gamma` how fast it grows with confidence (above 1 it would turn a binary decision round). Where the
    map puts another class on top, the two exchange their numbers. Logits are answered with the logarithm of the
    perturbed softmax. Every unlikely class gains up to beta / 2 before scaling, so with many classes rows turn flat;
    keep beta small there.
    """

    kind: Literal["reverse_sigmoid"] = "reverse_sigmoid"
    beta: float = Field(default=1.0, gt=0.0, le=1.0)
    gamma: float = Field(default=0.2, gt=0.0, le=1.0)

    preserves_argmax: ClassVar[bool] = True
    applies_to: ClassVar[frozenset[Semantics]] = frozenset(
        {Semantics.PROBABILITIES, Semantics.LOGITS, Semantics.BINARY}
    )

    def __call__(self, scores: Scores) -> Rows:
        values = scores.values
        if scores.semantics is Semantics.BINARY:
            return keep_side(self._perturb(values, scores.threshold), values, scores.threshold)
        if scores.semantics is Semantics.PROBABILITIES:
            return self._row(values, scores)
        softmax = to_sum_one(np.exp(values - values.max(axis=1, keepdims=True)))
        return np.log(self._row(softmax, scores))

    def _row(self, p: Rows, scores: Scores) -> Rows:
        return to_sum_one(crown(self._perturb(p), scores.winner))

    def _perturb(self, p: Rows, centre: float = 0.5) -> Rows:
        """Above 0 everywhere: what it takes is less than p above the centre, and it gives below."""
        clipped = np.clip(p, _SMALLEST, 1.0 - _SMALLEST)
        relative = log_odds(clipped) - log_odds(np.float64(centre))
        perturbed: Rows = clipped - self.beta * (sigmoid(self.gamma * relative) - 0.5)
        return perturbed
