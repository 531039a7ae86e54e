"""Interval bounds hold, and say when they cannot be had."""

from typing import Any

import numpy as np
import pytest

keras = pytest.importorskip("keras", reason="the extra retrain is not installed")
tf = pytest.importorskip("tensorflow", reason="the extra retrain is not installed")

from defenses.retraining import bounds, crown  # noqa: E402
from defenses.retraining.attacks import Ball, pgd_restarts  # noqa: E402

LAYERS = keras.layers


def _network(*layers: Any) -> Any:
    keras.utils.set_random_seed(1)
    return keras.Sequential([keras.Input((6, 6, 2)), *layers])


NETWORKS = [
    lambda: _network(LAYERS.Flatten(), LAYERS.Dense(20, "relu"), LAYERS.Dense(4, use_bias=False)),
    lambda: _network(
        LAYERS.Conv2D(5, 3, strides=2, padding="same"),
        LAYERS.ReLU(),
        LAYERS.Flatten(),
        LAYERS.Dropout(0.5),
        LAYERS.Dense(4),
    ),
    lambda: _network(
        LAYERS.Conv2D(5, 3, activation="relu"),
        LAYERS.MaxPooling2D(),
        LAYERS.Conv2D(4, 2, activation="relu"),
        LAYERS.GlobalAveragePooling2D(),
        LAYERS.Dense(4),
    ),
]


@pytest.mark.parametrize("network", NETWORKS)
def test_no_point_of_the_ball_is_beyond_the_bound(network: Any) -> None:
    model, generator = network(), np.random.default_rng(0)
    x, y = generator.random((8, 6, 6, 2), np.float32), generator.integers(0, 4, 8)
    ball = Ball("inf", 0.05, 0.0, 1.0)
    worst = bounds.worst_logits(model.layers, tf.constant(x), tf.constant(y), ball).numpy()
    np.testing.assert_allclose(worst[np.arange(8), y], 0, atol=1e-6)
    points = [np.clip(x + generator.choice([-0.05, 0.05], x.shape), 0, 1) for _ in range(50)]
    attacked, _ = pgd_restarts(model, tf.constant(x), tf.constant(y), ball, 10, 2, 0)
    for point in (*points, attacked.numpy()):
        logits = model(point).numpy()
        assert (logits - logits[np.arange(8), y][:, np.newaxis] <= worst + 1e-4).all()


@pytest.mark.parametrize("network", NETWORKS)
def test_without_a_radius_the_bound_is_the_answer(network: Any) -> None:
    model = network()
    x = np.random.default_rng(0).random((5, 6, 6, 2), np.float32)
    y = np.argmax(model(x), axis=-1)
    ball = Ball("inf", 0.0, 0.0, 1.0)
    logits = model(x).numpy()
    expected = logits - logits.max(axis=-1, keepdims=True)
    np.testing.assert_allclose(bounds.worst_logits(model.layers, x, y, ball), expected, atol=1e-5)
    assert bounds.certified(model.layers, x, y, ball).numpy().all()


CROWN = [*NETWORKS[:2], lambda: _network(
    LAYERS.Conv2D(5, 3, padding="same"), LAYERS.Activation("relu"), LAYERS.AveragePooling2D(2),
    LAYERS.Conv2D(4, 2, strides=2, activation="relu"), LAYERS.Flatten(), LAYERS.Dense(6, "relu"), LAYERS.Dense(4),
)]  # fmt: skip


@pytest.mark.parametrize("network", CROWN)
def test_lines_hold_as_well_and_are_tighter_than_intervals(network: Any) -> None:
    model, generator = network(), np.random.default_rng(0)
    x, y = generator.random((8, 6, 6, 2), np.float32), generator.integers(0, 4, 8)
    ball = Ball("inf", 0.05, 0.0, 1.0)
    worst = crown.worst_logits(model.layers, tf.constant(x), tf.constant(y), ball).numpy()
    np.testing.assert_allclose(worst[np.arange(8), y], 0, atol=1e-5)
    assert worst.sum() < bounds.worst_logits(model.layers, tf.constant(x), tf.constant(y), ball).numpy().sum()
    points = [np.clip(x + generator.choice([-0.05, 0.05], x.shape), 0, 1) for _ in range(50)]
    attacked, _ = pgd_restarts(model, tf.constant(x), tf.constant(y), ball, 10, 2, 0)
    for point in (*points, attacked.numpy()):
        logits = model(point).numpy()
        assert (logits - logits[np.arange(8), y][:, np.newaxis] <= worst + 1e-4).all()


def test_without_a_relu_the_lines_are_the_network() -> None:
    """A linear network's worst case over a box can be written down."""
    model = _network(LAYERS.Flatten(), LAYERS.Dense(7), LAYERS.Dense(4))
    x, y = np.random.default_rng(0).random((3, 6, 6, 2), np.float32), np.array([0, 1, 3])
    kernel = model.layers[1].kernel.numpy() @ model.layers[2].kernel.numpy()
    logits = model(x).numpy()
    expected = [
        logits[n] - logits[n, label] + 0.02 * np.abs(kernel - kernel[:, [label]]).sum(axis=0)
        for n, label in enumerate(y)
    ]
    ball = Ball("inf", 0.02, -9.0, 9.0)
    np.testing.assert_allclose(crown.worst_logits(model.layers, x, y, ball), expected, atol=1e-5)


def test_weights_can_be_trained_by_the_lines() -> None:
    model = NETWORKS[1]()
    x, y = np.random.default_rng(0).random((3, 6, 6, 2), np.float32), np.array([0, 1, 3])
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(crown.worst_logits(model.layers, tf.constant(x), tf.constant(y), Ball("inf", 0.1, 0, 1)))
    for gradient in tape.gradient(loss, [variable.value for variable in model.trainable_variables]):
        assert float(tf.reduce_sum(tf.abs(gradient))) >= 0
        assert np.isfinite(gradient.numpy()).all()


def test_pooling_that_no_line_bounds_is_told() -> None:
    assert "is a MaxPooling2D" in (crown.unsupported(NETWORKS[2]().layers) or "")
    assert crown.unsupported(NETWORKS[1]().layers) is None


@pytest.mark.parametrize(
    ("layers", "reason"),
    [
        (
            [LAYERS.Flatten(), LAYERS.Dense(3, "tanh", name="bent"), LAYERS.Dense(2)],
            "the activation tanh of the layer 'bent'",
        ),
        ([LAYERS.Flatten(), LAYERS.BatchNormalization(name="norm"), LAYERS.Dense(2)], "'norm' is a BatchNormalization"),
        ([LAYERS.Flatten(), LAYERS.Dense(2), LAYERS.ReLU(name="end")], "the last layer, 'end'"),
    ],
)
def test_networks_without_bounds_are_told_apart(layers: list[Any], reason: str) -> None:
    assert reason in (bounds.unsupported(_network(*layers).layers) or "")


def test_a_network_that_branches_has_no_bounds() -> None:
    start = keras.Input((4,))
    middle = LAYERS.Dense(4, "relu")(start)
    model = keras.Model(start, LAYERS.Dense(2)(LAYERS.Add()([middle, start])))
    assert bounds.unsupported(model.layers) is not None
    made: list[Any] = NETWORKS
    assert all(bounds.unsupported(make().layers) is None for make in made)
