"""Attacks with gradients, for training and for checks: FGSM and PGD in L-inf and L2 balls.

They are functions of their arguments alone: random starts come in as `noise`, so that the same step of a run meets the
same examples wherever and whenever it is computed. Sources: FGSM, Goodfellow et al. 2015 (arXiv:1412.6572); its random
start, Wong et al. 2020 (arXiv:2001.03994); PGD and restarts, Madry et al. 2018 (arXiv:1706.06083).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import tensorflow as tf

Tensor = Any
Loss = Callable[[Tensor], Tensor]
"""What an attacker raises: inputs (B, ...) to one value a row (B,)."""

_TINY = 1e-12


@dataclass(frozen=True)
class Ball:
    """Where an attacker may go from a row.

    Attributes:
        norm: `inf` or `2`, over all values of a row.
        epsilon: radius, a number or a scalar tensor, in units of the inputs.
        lower: no input is below.
        upper: no input is above.
    """

    norm: Literal["inf", "2"]
    epsilon: Any
    lower: float
    upper: float

    def project(self, moved: Tensor, x: Tensor) -> Tensor:
        """The nearest point of the ball around `x`, then of the range."""
        delta = moved - x
        if self.norm == "inf":
            delta = tf.clip_by_value(delta, -self.epsilon, self.epsilon)
        else:
            delta *= tf.minimum(1.0, self.epsilon / tf.maximum(_length(delta), _TINY))
        return tf.clip_by_value(x + delta, self.lower, self.upper)

    def ascend(self, gradient: Tensor) -> Tensor:
        """The direction of length 1 in this norm along which a linear loss grows fastest."""
        if self.norm == "inf":
            return tf.sign(gradient)
        return gradient / tf.maximum(_length(gradient), _TINY)


def noise(norm: Literal["inf", "2"], shape: Any, seed: Tensor) -> Tensor:
    """Points drawn evenly from the unit ball, float32 of `shape` (B, ...), from a seed of two integers."""
    if norm == "inf":
        return tf.random.stateless_uniform(shape, seed, -1.0, 1.0)
    direction = tf.random.stateless_normal(shape, seed)
    count = tf.cast(tf.reduce_prod(tf.shape(direction)[1:]), tf.float32)
    radius = tf.random.stateless_uniform(tf.shape(_length(direction)), seed + 1) ** (1.0 / count)
    return direction / tf.maximum(_length(direction), _TINY) * radius


def pgd(loss: Loss, x: Tensor, ball: Ball, steps: int, step: float, start: Tensor | None = None) -> Tensor:
    """Projected gradient ascent.

    Args:
        loss: what to raise.
        x: rows (B, ...) in the range.
        ball: where to stay.
        steps: number of steps.
        step: their size, in epsilons.
        start: `noise` of the shape of `x` to start from; None starts at `x`.

    Returns:
        Points in the ball and the range, no gradient flows through them.
    """
    moved = x if start is None else ball.project(x + ball.epsilon * start, x)

    def move(done: Tensor, moved: Tensor) -> tuple[Tensor, Tensor]:
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(moved)
            value = loss(moved)
        # A model without a gradient, such as one that rounds, leaves the attacker where it is, and is no error.
        direction = ball.ascend(tape.gradient(value, moved, unconnected_gradients="zero"))
        return done + 1, ball.project(moved + step * ball.epsilon * direction, x)

    _, moved = tf.while_loop(lambda done, _: done < steps, move, (0, moved))
    return tf.stop_gradient(moved)


def fgsm(loss: Loss, x: Tensor, ball: Ball, step: float = 1.0, start: Tensor | None = None) -> Tensor:
    """One step; with `start` and a step of 1.25 it is the one of fast adversarial training."""
    return pgd(loss, x, ball, 1, step, start)


def pgd_restarts(
    logits: Callable[[Tensor], Tensor], x: Tensor, y: Tensor, ball: Ball, steps: int, restarts: int, seed: int
) -> tuple[Tensor, Tensor]:
    """PGD on the cross-entropy, from `restarts` random starts.

    Args:
        logits: inputs to logits (B, C).
        x: rows (B, ...).
        y: their classes, integers (B,).
        ball: where to stay.
        steps: of each start, of 2.5 epsilon / steps, as Madry et al. do.
        restarts: number of starts.
        seed: of the starts.

    Returns:
        For each row the first point that is got wrong (the last point if none is), and whether one is, bool (B,).
    """

    def loss(moved: Tensor) -> Tensor:
        return tf.nn.sparse_softmax_cross_entropy_with_logits(y, logits(moved))

    found, fooled = x, wrong(logits(x), y)
    for restart in range(restarts):
        start = noise(ball.norm, tf.shape(x), tf.constant([seed, 2 * restart]))
        moved = pgd(loss, x, ball, steps, 2.5 / steps, start)
        found = tf.where(tf.reshape(fooled, [-1] + [1] * (len(x.shape) - 1)), found, moved)
        fooled |= wrong(logits(moved), y)
    return found, fooled


def wrong(logits: Tensor, y: Tensor) -> Tensor:
    """Whether the largest logit is another class's, bool (B,)."""
    return tf.argmax(logits, axis=-1, output_type=y.dtype) != y


def _length(rows: Tensor) -> Tensor:
    """Euclidean, with axes of size 1 that broadcast: (B, 1, ...)."""
    return tf.sqrt(tf.reduce_sum(rows**2, axis=range(1, len(rows.shape)), keepdims=True))
