"""White-box attacks on a subject: one step (FGSM), and many with restarts (PGD)."""

from typing import Any, Literal

import numpy as np

from defenses.retraining.robustness.subject import Labels, Rows, Subject, batches

Norm = Literal["inf", "2"]


def fgsm(subject: Subject, rows: Rows, labels: Labels, epsilon: float, norm: Norm = "inf") -> Rows:
    """One step of length epsilon up the cross-entropy (Goodfellow et al. 2015, arXiv 1412.6572)."""
    import tensorflow as tf

    parts = []
    for part, truth in zip(batches(rows), _parts(labels), strict=True):
        moved = part + epsilon * _direction(_gradient(subject, part, truth), norm)
        parts.append(tf.clip_by_value(moved, subject.low, subject.high).numpy())
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
    """Projected gradient ascent from random starts (Madry et al. 2018, arXiv 1706.06083).

    Steps have 2.5 epsilon / steps, as in the paper's code. A row is attacked until it is answered wrong at any step
    of any restart, and what is returned is that step, so that the attack is as strong as all that it saw.

    Args:
        subject: the model.
        rows: (n, ...) as it takes them.
        labels: (n,) the truth.
        epsilon: radius, in units of the rows' values.
        rng: draws the starts.
        norm: of the radius.
        steps: of each restart.
        restarts: at least 1.

    Returns:
        (n, ...) within epsilon of the rows and within the subject's range.
    """
    found = rows.astype(np.float32, copy=True)
    left = np.flatnonzero(subject.right(found, labels))
    for _ in range(restarts):
        still = []
        for at in range(0, len(left), 256):
            own = left[at : at + 256]
            reached, wrong = _climb(subject, rows[own], labels[own], epsilon, rng, norm, steps)
            found[own] = reached
            still.append(own[~wrong])
        left = np.concatenate(still) if still else left
    return found


def _climb(
    subject: Subject, rows: Rows, labels: Labels, epsilon: float, rng: np.random.Generator, norm: Norm, steps: int
) -> tuple[Rows, Any]:
    import tensorflow as tf

    start = tf.convert_to_tensor(rows, tf.float32)
    truth = tf.convert_to_tensor(labels)
    now = _within(subject, start, start + _random(rng, rows.shape, epsilon, norm), epsilon, norm)
    best, wrong = now.numpy(), np.zeros(len(rows), bool)
    for _ in range(steps):
        with tf.GradientTape() as tape:
            tape.watch(now)
            scores = subject.logits(now)
            loss = tf.nn.sparse_softmax_cross_entropy_with_logits(truth, scores)
        _keep(best, wrong, now, scores, labels)
        if wrong.all():
            return best, wrong
        step = 2.5 * epsilon / steps * _direction(tape.gradient(loss, now), norm)
        now = _within(subject, start, now + step, epsilon, norm)
    _keep(best, wrong, now, subject.logits(now), labels)
    return best, wrong


def _keep(best: Rows, wrong: Any, now: Any, scores: Any, labels: Labels) -> None:
    """Moves what is not wrong yet on, and stays with the first wrong place of each row."""
    best[~wrong] = now.numpy()[~wrong]
    wrong |= np.asarray(scores).argmax(axis=1) != labels


def _gradient(subject: Subject, rows: Any, labels: Any) -> Any:
    import tensorflow as tf

    with tf.GradientTape() as tape:
        tape.watch(rows)
        loss = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, subject.logits(rows))
    return tape.gradient(loss, rows)


def _direction(gradient: Any, norm: Norm) -> Any:
    import tensorflow as tf

    return tf.sign(gradient) if norm == "inf" else gradient / tf.maximum(_length(gradient), 1e-12)


def _within(subject: Subject, rows: Any, moved: Any, epsilon: float, norm: Norm) -> Any:
    import tensorflow as tf

    change = moved - rows
    if norm == "inf":
        change = tf.clip_by_value(change, -epsilon, epsilon)
    else:
        change *= tf.minimum(1.0, epsilon / tf.maximum(_length(change), 1e-12))
    return tf.clip_by_value(rows + change, subject.low, subject.high)


def _length(values: Any) -> Any:
    import tensorflow as tf

    axes = list(range(1, len(values.shape)))
    return tf.sqrt(tf.reduce_sum(values * values, axis=axes, keepdims=True))


def _random(rng: np.random.Generator, shape: tuple[int, ...], epsilon: float, norm: Norm) -> Rows:
    if norm == "inf":
        return rng.uniform(-epsilon, epsilon, shape).astype(np.float32)
    drawn = rng.standard_normal(shape)
    flat = drawn.reshape(shape[0], -1)
    size = flat.shape[1]
    radius = epsilon * rng.uniform(0, 1, (shape[0], 1)) ** (1 / size)  # uniform within the ball
    return (flat / np.linalg.norm(flat, axis=1, keepdims=True) * radius).reshape(shape).astype(np.float32)


def _parts(labels: Labels) -> list[Any]:
    import tensorflow as tf

    return [tf.convert_to_tensor(labels[at : at + 256]) for at in range(0, len(labels), 256)]
