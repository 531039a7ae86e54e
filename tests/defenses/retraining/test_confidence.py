"""Calibration and membership on answers whose worth is known."""

import numpy as np
import pytest

from defenses.retraining.confidence import calibration_error, membership_advantage


def test_a_model_that_is_as_right_as_it_says_is_calibrated() -> None:
    rng = np.random.default_rng(0)
    scores = rng.normal(0, 2, (20_000, 4)).astype(np.float32)
    chances = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    labels = (chances.cumsum(axis=1) > rng.uniform(size=(20_000, 1))).argmax(axis=1)
    assert calibration_error(scores, labels) < 0.02
    sure = calibration_error(10 * scores, labels)
    assert sure == pytest.approx(1 - (scores.argmax(axis=1) == labels).mean(), abs=0.05), "sure and often wrong"


def test_membership() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 10, 4000)
    scores = rng.normal(0, 1, (4000, 10)).astype(np.float32)
    assert abs(membership_advantage(scores[:2000], labels[:2000], scores[2000:], labels[2000:])) < 0.05
    scores[np.arange(2000), labels[:2000]] += 20
    assert membership_advantage(scores[:2000], labels[:2000], scores[2000:], labels[2000:]) > 0.98
    with pytest.raises(ValueError, match="there are 1 and 2000"):
        membership_advantage(scores[:1], labels[:1], scores[2000:], labels[2000:])
