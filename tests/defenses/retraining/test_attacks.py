"""Attacks against adversarial-robustness-toolbox, an independent implementation, and the promises of a ball."""

from typing import Any, Literal

import numpy as np
import pytest

tf = pytest.importorskip("tensorflow", reason="the extra retrain is not installed")
pytest.importorskip("art", reason="the extra retrain is not installed")

from art.attacks.evasion import FastGradientMethod, ProjectedGradientDescent  # noqa: E402
from art.estimators.classification import TensorFlowV2Classifier  # noqa: E402

from defenses.retraining import attacks  # noqa: E402
from defenses.retraining.attacks import Ball  # noqa: E402
from tests.defenses.retraining import digits  # noqa: E402

Norm = Literal["inf", "2"]
ROWS = 24


@pytest.fixture(scope="module")
def network() -> Any:
    tf.keras.utils.set_random_seed(0)
    return digits.convolutional()


@pytest.fixture(scope="module")
def rows() -> tuple[Any, Any]:
    generator = np.random.default_rng(0)
    # Away from the ends of the range, where the order of clipping and projecting matters in L2; both orders are right.
    return generator.uniform(0.3, 0.7, (ROWS, 8, 8, 1)).astype(np.float32), generator.integers(0, 10, ROWS).astype(
        np.int32
    )


@pytest.mark.parametrize(("norm", "epsilon"), [("inf", 0.1), ("2", 0.7)])
def test_the_same_points_as_another_implementation(
    network: Any, rows: tuple[Any, Any], norm: Norm, epsilon: float
) -> None:
    x, y = rows
    target = TensorFlowV2Classifier(
        model=network,
        nb_classes=10,
        input_shape=(8, 8, 1),
        loss_object=tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        clip_values=(0.0, 1.0),
    )
    order: Any = np.inf if norm == "inf" else 2
    ball = Ball(norm, epsilon, 0.0, 1.0)

    def loss(moved: Any) -> Any:
        return tf.nn.sparse_softmax_cross_entropy_with_logits(y, network(moved))

    theirs = FastGradientMethod(target, norm=order, eps=epsilon).generate(x, y)
    np.testing.assert_allclose(attacks.fgsm(loss, tf.constant(x), ball), theirs, atol=1e-5)
    many = ProjectedGradientDescent(target, norm=order, eps=epsilon, eps_step=epsilon / 4, max_iter=8, verbose=False)
    ours = attacks.pgd(loss, tf.constant(x), ball, 8, 0.25)
    apart = np.abs(ours - many.generate(x, y)).reshape(ROWS, -1).max(axis=1)
    # Rounding may send a row down another side of a ReLU's kink, from where it goes its own way.
    assert (apart < 2e-5).mean() > 0.9


@pytest.mark.parametrize("norm", ["inf", "2"])
def test_points_stay_in_the_ball_and_the_range(network: Any, rows: tuple[Any, Any], norm: Norm) -> None:
    x, y = rows
    x = np.where(x < 0.5, 0, x).astype(np.float32)
    found, _ = attacks.pgd_restarts(network, tf.constant(x), tf.constant(y), Ball(norm, 0.3, 0.0, 1.0), 5, 3, 0)
    moved = (found.numpy() - x).reshape(ROWS, -1)
    length = np.abs(moved).max(axis=1) if norm == "inf" else np.linalg.norm(moved, axis=1)
    assert length.max() <= 0.3 + 1e-5
    assert found.numpy().min() >= 0
    assert found.numpy().max() <= 1


@pytest.mark.parametrize("norm", ["inf", "2"])
def test_noise_fills_the_unit_ball_and_follows_from_its_seed(norm: Norm) -> None:
    drawn = [attacks.noise(norm, (200, 3), tf.constant([seed, 0])).numpy() for seed in (5, 5, 6)]
    length = np.abs(drawn[0]).max(axis=1) if norm == "inf" else np.linalg.norm(drawn[0], axis=1)
    assert 0.9 < length.max() <= 1
    # Evenly in a volume: a share r**3 lies within r.
    assert abs((length < 0.5).mean() - 0.125) < 0.08
    assert (drawn[0] == drawn[1]).all()
    assert (drawn[0] != drawn[2]).any()


def test_more_restarts_never_fool_less(network: Any, rows: tuple[Any, Any]) -> None:
    x = tf.constant(rows[0])
    y = tf.argmax(network(x), axis=-1, output_type=tf.int32)  # all right at first
    counts = [
        int(
            tf.reduce_sum(
                tf.cast(attacks.pgd_restarts(network, x, y, Ball("inf", 0.02, 0.0, 1.0), 2, n, 0)[1], tf.int32)
            )
        )
        for n in (1, 4)
    ]
    assert 0 < counts[0] <= counts[1]
