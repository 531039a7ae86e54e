"""The thieves' own network: light, and unlike the served model's, which they do not know."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from proxy.drill.attacks.contract import Predict, Probabilities, Rows

BATCH = 64
LEARNING_RATE = 2e-3
UPDATES = (300, 1200)
"""Few rows are gone through until there have been the first number of updates, many until the second."""


def network(shape: tuple[int, ...], classes: int, seed: int) -> Any:
    """A Keras model giving logits: two strided convolutions for images of 8 by 8 and more, or else dense layers.

    Args:
        shape: of a row, (H, W, C) or (features,).
        classes: logits a row.
        seed: of its weights.
    """
    import keras

    keras.utils.set_random_seed(seed)
    layers = keras.layers
    images = len(shape) == 3 and min(shape[:2]) >= 8
    seeing = [
        layers.Conv2D(24, 5, strides=2, padding="same", activation="relu"),
        layers.Conv2D(48, 5, strides=2, padding="same", activation="relu"),
    ]
    dense = [layers.Flatten(), layers.Dense(128, activation="relu"), layers.Dense(classes)]
    first = seeing if images else [layers.Dense(128, activation="relu")]
    model = keras.Sequential([keras.Input(shape), *first, *dense])
    loss = keras.losses.CategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(LEARNING_RATE), loss, jit_compile=False)  # compiling takes longer than training
    return model


def epochs(count: int) -> int:
    """Passes over that many rows: as many as stay within UPDATES, from 6 to 40, but at least 1."""
    updates = -(-max(1, count) // BATCH)
    return max(1, UPDATES[1] // updates) if 6 * updates > UPDATES[1] else min(40, max(6, UPDATES[0] // updates))


def train(model: Any, rows: Rows, targets: Probabilities, passes: int, seed: int) -> None:
    """Trains on the answers (n, classes), going on from the weights that the network has."""
    import keras

    def rate(done: int) -> float:
        return float(LEARNING_RATE * (1 + np.cos(np.pi * done / passes)) / 2)

    keras.utils.set_random_seed(seed)
    falling = keras.callbacks.LearningRateScheduler(rate)
    model.fit(rows, targets, batch_size=BATCH, epochs=passes, verbose=0, callbacks=[falling])


def predict(model: Any) -> Predict:
    """The network as a function that gives probabilities."""

    def probabilities(rows: Rows) -> Probabilities:
        parts = [model(rows[start : start + 500], training=False) for start in range(0, len(rows), 500)]
        logits = np.concatenate([np.asarray(part, np.float64) for part in parts])
        powers = np.exp(logits - logits.max(axis=1, keepdims=True))
        return np.asarray(powers / powers.sum(axis=1, keepdims=True), np.float32)

    return probabilities


def gradients(model: Any, rows: Rows, labels: NDArray[np.int64]) -> Rows:
    """Of each row's logit of its label, by the row's values: (n, ...)."""
    import tensorflow as tf

    parts = []
    for start in range(0, len(rows), 500):
        inputs = tf.convert_to_tensor(rows[start : start + 500])
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            logits = tf.gather(model(inputs, training=False), labels[start : start + 500], batch_dims=1)
        parts.append(np.asarray(tape.gradient(logits, inputs), np.float32))
    return np.concatenate(parts)
