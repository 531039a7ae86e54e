"""What a model's confidences are worth: whether they are calibrated, and how much they tell about the training rows."""

import numpy as np
from numpy.typing import NDArray

from defenses.retraining.robustness.subject import Labels, Scores

BINS = 15


def softmax(scores: Scores) -> NDArray[np.float64]:
    """Probabilities (n, classes) of logits."""
    raised = np.exp(scores.astype(np.float64) - scores.max(axis=1, keepdims=True))
    return np.asarray(raised / raised.sum(axis=1, keepdims=True))


def calibration_error(scores: Scores, labels: Labels, bins: int = BINS) -> float:
    """Expected calibration error (Guo et al. 2017, arXiv 1706.04599): |confidence - accuracy| over bins, by rows.

    Args:
        scores: logits (n, classes).
        labels: (n,) the truth.
        bins: of equal width.
    """
    probabilities = softmax(scores)
    confidence = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == labels
    place = np.minimum((confidence * bins).astype(int), bins - 1)
    off = np.bincount(place, confidence - right, minlength=bins)
    return float(np.abs(off).sum() / len(labels))


def membership_advantage(members: Scores, member_labels: Labels, others: Scores, other_labels: Labels) -> float:
    """Advantage of an attacker who takes what is answered confidently for training rows.

    Yeom et al. 2018 (arXiv 1709.01604). The threshold on the confidence in the true class is found on one half of the
    rows and judged on the other; the mean of both ways. Adversarial training is known to raise it (Song et al. 2019,
    arXiv 1905.10291).

    Args:
        members: logits (n, classes) of rows that were trained on, with their labels.
        others: logits (m, classes) of rows that were not, with theirs.

    Returns:
        True less false positive rate; about 0 for a model that tells nothing.

    Raises:
        ValueError: fewer than two rows of a kind.
    """
    if min(len(members), len(others)) < 2:
        raise ValueError(f"at least two rows of a kind are needed; there are {len(members)} and {len(others)}")
    inside, outside = _truth(members, member_labels), _truth(others, other_labels)
    gains = []
    for half in (0, 1):
        threshold = _best(inside[half::2], outside[half::2])
        gains.append(float((inside[1 - half :: 2] >= threshold).mean() - (outside[1 - half :: 2] >= threshold).mean()))
    return sum(gains) / 2


def _truth(scores: Scores, labels: Labels) -> NDArray[np.float64]:
    """The log-odds of the true class: what floats tell apart even where they all round to a confidence of 1."""
    own = np.take_along_axis(scores, labels[:, None], axis=1)[:, 0].astype(np.float64)
    others = scores.astype(np.float64).copy()
    np.put_along_axis(others, labels[:, None], -np.inf, axis=1)
    top = others.max(axis=1)
    return np.asarray(own - top - np.log(np.exp(others - top[:, None]).sum(axis=1)))


def _best(inside: NDArray[np.float64], outside: NDArray[np.float64]) -> float:
    thresholds = np.unique(np.concatenate([inside, outside]))
    hits = 1 - np.searchsorted(np.sort(inside), thresholds) / len(inside)
    false = 1 - np.searchsorted(np.sort(outside), thresholds) / len(outside)
    return float(thresholds[int(np.argmax(hits - false))])
