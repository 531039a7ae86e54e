"""White-box attacks on a subject's rows, in batches: one step (FGSM), and many with restarts (PGD)."""

from functools import lru_cache, partial
from typing import Any, Literal

import numpy as np
import tensorflow as tf

from defenses.retraining import attacks
from defenses.retraining.robustness.subject import BATCH, Labels, Rows, Subject

Norm = Literal["inf", "2"]


def fgsm(subject: Subject, rows: Rows, labels: Labels, epsilon: float, norm: Norm = "inf") -> Rows:
    """One step of length epsilon up the cross-entropy (Goodfellow et al. 2015, arXiv 1412.6572)."""
    run = _compiled(subject, norm, 1, 1.0)
    parts = [
        run(rows[at : at + BATCH], labels[at : at + BATCH], np.zeros_like(rows[at : at + BATCH]), epsilon).numpy()
        for at in range(0, len(rows), BATCH)
    ]
    return np.concatenate(parts)


def pgd(
    subject: Subject,
    rows: Rows,
    labels: Labels,
    epsilon: float,
    rng: np.random.Generator,
    *,
    norm: Norm = "inf",
    steps: int = 50,
    restarts: int = 10,
) -> Rows:
    """Projected gradient ascent from random starts, steps of 2.5 epsilon / steps (Madry et al. 2018, arXiv 1706.06083).

    Args:
        subject: the model.
        rows: (n, ...) as it takes them.
        labels: (n,) the truth.
        epsilon: radius, in units of the rows' values.
        rng: seeds the starts.
        norm: of the radius.
        steps: of each restart.
        restarts: at least 1; each has the rows that all before it left right.

    Returns:
        (n, ...) within epsilon of the rows and within the subject's range.
    """
    run = _compiled(subject, norm, steps, 2.5 / steps)
    found = rows.astype(np.float32, copy=True)
    left = np.flatnonzero(subject.right(found, labels))
    for _ in range(restarts):
        if not len(left):
            break
        for at in range(0, len(left), BATCH):
            own = left[at : at + BATCH]
            start = attacks.noise(norm, rows[own].shape, rng.integers(2**31, size=2))
            found[own] = run(rows[own], labels[own], start, epsilon).numpy()
        left = left[subject.right(found[left], labels[left])]
    return found


@lru_cache(maxsize=16)  # tracing costs more than many a run, and is the same for every radius
def _compiled(subject: Subject, norm: Norm, steps: int, step: float) -> Any:
    # Of a partial TensorFlow does not think that it is one function, traced again and again.
    compiled = tf.function(partial(_attacked, subject, norm, steps, step), reduce_retracing=True, autograph=False)

    def call(rows: Rows, labels: Labels, start: Any, epsilon: float) -> Any:
        return compiled(
            tf.convert_to_tensor(rows, tf.float32),
            tf.convert_to_tensor(labels),
            tf.convert_to_tensor(start, tf.float32),
            tf.constant(epsilon, tf.float32),
        )

    return call


def _attacked(
    subject: Subject, norm: Norm, steps: int, step: float, rows: Any, labels: Any, start: Any, epsilon: Any
) -> Any:
    ball = attacks.Ball(norm, epsilon, subject.low, subject.high)

    def loss(moved: Any) -> Any:
        return tf.nn.sparse_softmax_cross_entropy_with_logits(labels, subject.logits(moved))

    return attacks.pgd(loss, rows, ball, steps, step, start)
