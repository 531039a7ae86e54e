"""Interval bounds through a Keras network (Gowal et al. 2018, arXiv:1810.12715), and what they certify.

Values are kept as centre and radius. The last Dense layer is merged with the difference of two logits, which is
tighter than bounding each logit (their section 3, "elision of the last layer").
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import keras
import tensorflow as tf

from defenses.retraining.attacks import Ball, Tensor

_MONOTONE = (keras.layers.MaxPooling2D, keras.layers.AveragePooling2D, keras.layers.GlobalAveragePooling2D)
_SHAPES = (keras.layers.Flatten, keras.layers.Reshape)
_NOTHING = (keras.layers.Dropout, keras.layers.InputLayer)
_ACTIVATIONS = ("relu", "linear")


def unsupported(layers: Sequence[Any]) -> str | None:
    """Why there are no bounds for a network, or None."""
    for before, after in pairwise(layers):
        if after.input is not before.output:
            return f"the layer {after.name!r} does not follow on {before.name!r} alone"
    for layer in layers[:-1]:
        if isinstance(layer, keras.layers.Dense | keras.layers.Conv2D):
            if _activation(layer) not in _ACTIVATIONS:
                return f"the activation {_activation(layer)} of the layer {layer.name!r} is not ReLU"
        elif isinstance(layer, keras.layers.Activation) and _activation(layer) in _ACTIVATIONS:
            continue
        elif not isinstance(layer, (*_MONOTONE, *_SHAPES, *_NOTHING, keras.layers.ReLU)):
            return f"the layer {layer.name!r} is a {type(layer).__name__}"
    last = layers[-1]
    if not isinstance(last, keras.layers.Dense) or _activation(last) != "linear":
        return f"the last layer, {last.name!r}, is no Dense layer that gives logits"
    return None


def worst_logits(layers: Sequence[Any], x: Tensor, y: Tensor, ball: Ball) -> Tensor:
    """An upper bound of each logit less the row's own, over the L-inf ball and the range: (B, C), 0 at the class.

    Args:
        layers: of a sequential network for which `unsupported` is None.
        x: rows (B, ...).
        y: their classes (B,).
        ball: of the norm `inf`.
    """
    low = tf.maximum(x - ball.epsilon, ball.lower)
    high = tf.minimum(x + ball.epsilon, ball.upper)
    for layer in layers[:-1]:
        low, high = _through(layer, low, high)
    ahead, constant = differences(layers[-1], y)
    centre, radius = (low + high) / 2, (high - low) / 2
    bound = tf.einsum("bd,bdc->bc", centre, ahead) + tf.einsum("bd,bdc->bc", radius, tf.abs(ahead))
    return bound + constant


def differences(last: Any, y: Tensor) -> tuple[Tensor, Tensor]:
    """The last layer merged with the difference of each logit and the row's own: kernels (B, D, C), biases (B, C)."""
    kernel, bias = tf.convert_to_tensor(last.kernel), _bias(last)
    ahead = kernel[tf.newaxis] - tf.gather(tf.transpose(kernel), y)[:, :, tf.newaxis]
    return ahead, bias - tf.gather(bias, y)[:, tf.newaxis]


def certified(layers: Sequence[Any], x: Tensor, y: Tensor, ball: Ball) -> Tensor:
    """Whether no point of the ball around a row can be got wrong, bool (B,)."""
    others = worst_logits(layers, x, y, ball) - tf.one_hot(y, layers[-1].units) * 1e9
    return tf.reduce_max(others, axis=-1) < 0


def does_nothing(layer: Any) -> bool:
    """Whether a layer hands on what it gets, in inference."""
    idle = isinstance(layer, keras.layers.Activation) and _activation(layer) == "linear"
    return idle or isinstance(layer, _NOTHING)


def is_relu(layer: Any) -> bool:
    """Whether a layer is a ReLU and nothing else."""
    bent = isinstance(layer, keras.layers.Activation) and _activation(layer) == "relu"
    return bent or isinstance(layer, keras.layers.ReLU)


def ends_in_relu(layer: Any) -> bool:
    """Whether a ReLU follows on what a layer computes."""
    return isinstance(layer, keras.layers.Dense | keras.layers.Conv2D) and _activation(layer) == "relu"


def linear(layer: Any, values: Tensor) -> Tensor:
    """What a layer computes before its activation."""
    if isinstance(layer, keras.layers.Dense | keras.layers.Conv2D):
        return _linear(layer, values, tf.convert_to_tensor(layer.kernel)) + _bias(layer)
    return layer(values)


def affine(layer: Any, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    """The interval of what a layer computes before its activation."""
    if not isinstance(layer, keras.layers.Dense | keras.layers.Conv2D):
        return layer(low), layer(high)  # these never fall when their input grows
    centre, radius = (low + high) / 2, (high - low) / 2
    kernel = tf.convert_to_tensor(layer.kernel)
    centre, radius = _linear(layer, centre, kernel) + _bias(layer), _linear(layer, radius, tf.abs(kernel))
    return centre - radius, centre + radius


def _through(layer: Any, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    if isinstance(layer, _NOTHING):
        return low, high
    low, high = affine(layer, low, high)
    return (tf.nn.relu(low), tf.nn.relu(high)) if ends_in_relu(layer) else (low, high)


def _linear(layer: Any, values: Tensor, kernel: Tensor) -> Tensor:
    if isinstance(layer, keras.layers.Dense):
        return values @ kernel
    return keras.ops.conv(
        values, kernel, strides=layer.strides, padding=layer.padding, dilation_rate=layer.dilation_rate
    )


def _bias(layer: Any) -> Tensor:
    return tf.convert_to_tensor(layer.bias) if layer.use_bias else tf.zeros(layer.kernel.shape[-1])


def _activation(layer: Any) -> str:
    return getattr(layer.activation, "__name__", str(layer.activation))
