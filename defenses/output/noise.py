"""Noise that a caller cannot average away by asking again."""

from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from defenses.output.keys import uniform
from defenses.output.scores import Rows, Scores, Settings, crown, keep_side, to_sum_one
from defenses.output.semantics import Semantics

_NEVER_ZERO = 1e-300


class Noise(Settings):
    """Moves each row by at most `epsilon`; a secret and the row's input decide how far and in which direction.

    `norm: l1` bounds the sum of all changes of a row (probabilities can differ by 2 at most), `norm: linf` the change
    of each number; a binary probability stands alone and both mean the same. With many classes, bound logits by linf:
    l1 leaves each of them next to nothing.

    Probabilities: noise in proportion to p + 1/classes, so that winner and tail both carry it however many classes
    there are; negative ones become 0; if another class comes out on top, the two exchange their numbers; the row is
    scaled to sum to 1, and drawn back towards the model's own row until the bound holds. Each of these keeps the
    predicted class, as the set of distributions with a given winner is convex. Near 0 and 1 the noise can only point
    inwards, so it is biased there.
    """

    kind: Literal["noise"] = "noise"
    epsilon: float = Field(gt=0.0, le=1000.0, allow_inf_nan=False)
    norm: Literal["l1", "linf"] = "l1"

    preserves_argmax: ClassVar[bool] = True
    applies_to: ClassVar[frozenset[Semantics]] = frozenset(
        {Semantics.PROBABILITIES, Semantics.LOGITS, Semantics.BINARY}
    )

    def __call__(self, scores: Scores) -> Rows:
        values = scores.values
        drawn = uniform(scores.keys, values.shape[1] + 1)
        noise, length = drawn[:, :-1], self.epsilon * np.abs(drawn[:, -1:])
        if scores.semantics is Semantics.BINARY:
            return keep_side(values + self.epsilon * noise, values, scores.threshold)
        if scores.semantics is Semantics.LOGITS:
            target = crown(values + noise * length / self._length(noise), scores.winner)
        else:
            weight = values + 1.0 / values.shape[1]
            noise = weight * (noise - (weight * noise).sum(axis=1, keepdims=True) / weight.sum(axis=1, keepdims=True))
            moved = np.maximum(values + noise * length / self._length(noise), 0.0)
            target = crown(to_sum_one(moved), scores.winner)
        step = target - values
        return values + step * np.minimum(1.0, self.epsilon / self._length(step))

    def _length(self, step: Rows) -> Rows:
        size = np.abs(step)
        length: Rows = size.sum(axis=1, keepdims=True) if self.norm == "l1" else size.max(axis=1, keepdims=True)
        return np.maximum(length, _NEVER_ZERO)
