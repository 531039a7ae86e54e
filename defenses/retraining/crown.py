"""CROWN-IBP (Zhang et al. 2020, arXiv:1906.06316): linear bounds back through a network whose intervals are known.

The intervals of what goes into each ReLU come from `bounds`. From the last layer back to the input, each ReLU lies
between two lines. That is tighter than intervals where weights are not trained for them, and costs a pass a class.
"""

from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf

from defenses.retraining import bounds
from defenses.retraining.attacks import Ball, Tensor

Back = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""One layer back: a linear bound's factors (B, C, ...) and constant (B, C) of its output, to those of its input."""


def unsupported(layers: Sequence[Any]) -> str | None:
    """Why there are no such bounds for a network, or None."""
    for layer in layers:
        if isinstance(layer, keras.layers.MaxPooling2D):
            return f"the layer {layer.name!r} is a MaxPooling2D, which no two lines bound"
        if isinstance(layer, keras.layers.ReLU) and (layer.max_value, layer.negative_slope, layer.threshold) != (
            None,
            0,
            0,
        ):
            return f"the layer {layer.name!r} is no plain ReLU"
    return bounds.unsupported(layers)


def worst_logits(layers: Sequence[Any], x: Tensor, y: Tensor, ball: Ball) -> Tensor:
    """As `bounds.worst_logits`, of the same arguments and shape, for layers for which `unsupported` here is None."""
    low = lowest = tf.maximum(x - ball.epsilon, ball.lower)
    high = highest = tf.minimum(x + ball.epsilon, ball.upper)
    steps: list[Back] = []
    for layer in layers[:-1]:
        if bounds.does_nothing(layer):
            continue
        if not bounds.is_relu(layer):
            steps.append(_linear(layer, low.shape[1:]))
            low, high = bounds.affine(layer, low, high)
        if bounds.is_relu(layer) or bounds.ends_in_relu(layer):
            steps.append(_relu(low, high))
            low, high = tf.nn.relu(low), tf.nn.relu(high)
    ahead, constant = bounds.differences(layers[-1], y)
    factors = tf.transpose(ahead, (0, 2, 1))  # (B, C, D)
    for back in reversed(steps):
        factors, constant = back(factors, constant)
    extreme = tf.nn.relu(factors) * highest[:, tf.newaxis] - tf.nn.relu(-factors) * lowest[:, tf.newaxis]
    return constant + _total(extreme)


def _relu(low: Tensor, high: Tensor) -> Back:
    """Above, the chord of the two ends; below, the line through 0 of slope 0 or 1 that leaves the smaller gap."""
    unstable = tf.cast((low < 0) & (high > 0), low.dtype)
    chord = high / tf.maximum(high - low, 1e-12)
    alive = tf.cast(low >= 0, low.dtype)
    above, offset = alive + unstable * chord, -unstable * chord * low
    below = alive + unstable * tf.cast(high > -low, low.dtype)

    def back(factors: Tensor, constant: Tensor) -> tuple[Tensor, Tensor]:
        rising, falling = tf.nn.relu(factors), tf.nn.relu(-factors)
        constant += _total(rising * offset[:, tf.newaxis])
        return rising * above[:, tf.newaxis] - falling * below[:, tf.newaxis], constant

    return back


def _linear(layer: Any, shape: Any) -> Back:
    """The transpose of what a layer does, before its activation; gradients know it for layers of any kind."""

    def back(factors: Tensor, constant: Tensor) -> tuple[Tensor, Tensor]:
        rows, classes = tf.shape(factors)[0], factors.shape[1]
        start = tf.zeros((rows * classes, *shape))
        with tf.GradientTape() as tape:
            tape.watch(start)
            end = bounds.linear(layer, start)
        flat = tf.reshape(factors, tf.shape(end))
        constant += _total(tf.reshape(flat * end, (rows, classes, -1)))  # what it gives for 0: its bias
        return tf.reshape(tape.gradient(end, start, output_gradients=flat), (rows, classes, *shape)), constant

    return back


def _total(values: Tensor) -> Tensor:
    """(B, C, ...) to (B, C)."""
    return tf.reduce_sum(values, axis=range(2, len(values.shape)))
