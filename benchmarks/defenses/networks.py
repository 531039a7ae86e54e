"""The attackers' own network: another one than the served model's, since they do not know that."""

from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from benchmarks.defenses.served import Images

BATCH = 128
LEARNING_RATE = 2e-3


def train(images: Images, targets: NDArray[np.float32], epochs: int, seed: int) -> Any:
    """A Keras model giving logits.

    Args:
        images: (rows, H, W, 1).
        targets: (rows, classes) distributions: one-hot labels, or what a served model has answered.
        epochs: passes over the rows.
        seed: of weights and order.
    """
    keras.utils.set_random_seed(seed)
    network = keras.Sequential(
        [
            keras.Input(images.shape[1:]),
            keras.layers.Conv2D(24, 5, strides=2, padding="same", activation="relu"),
            keras.layers.Conv2D(48, 5, strides=2, padding="same", activation="relu"),
            keras.layers.Flatten(),
            keras.layers.Dropout(0.2),
            keras.layers.Dense(128, activation="relu"),
            keras.layers.Dense(targets.shape[1]),
        ]
    )
    steps = -(-len(images) // BATCH) * epochs
    network.compile(
        keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(LEARNING_RATE, steps)),
        keras.losses.CategoricalCrossentropy(from_logits=True),
    )
    network.fit(images, targets, batch_size=BATCH, epochs=epochs, verbose=0)
    return network


def logits(network: Any, images: Images) -> NDArray[np.float32]:
    """(rows, classes)."""
    return np.asarray(network.predict(images, batch_size=500, verbose=0), dtype=np.float32)


def one_hot(labels: NDArray[Any], classes: int) -> NDArray[np.float32]:
    """(rows, classes)."""
    rows: NDArray[np.float32] = np.eye(classes, dtype=np.float32)[labels]
    return rows
