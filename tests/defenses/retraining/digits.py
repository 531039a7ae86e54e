"""8x8 digits and small models of them, trained in a second or two."""

from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

EPSILON = 0.15


class Digits(NamedTuple):
    """Rows (n, 8, 8, 1) in [0, 1] and labels (n,)."""

    train: NDArray[np.float32]
    train_labels: NDArray[np.int64]
    test: NDArray[np.float32]
    test_labels: NDArray[np.int64]


@cache
def digits() -> Digits:
    from sklearn.datasets import load_digits

    data = load_digits()
    rows = (data.images[..., None] / 16).astype(np.float32)
    labels = data.target.astype(np.int64)
    order = np.random.default_rng(0).permutation(len(rows))
    rows, labels = rows[order], labels[order]
    return Digits(rows[:1400], labels[:1400], rows[1400:], labels[1400:])


def network(seed: int = 0) -> Any:
    import keras

    keras.utils.set_random_seed(seed)
    return keras.Sequential(
        [
            keras.Input((8, 8, 1), name="image"),
            keras.layers.Flatten(),
            keras.layers.Dense(64, activation="relu"),
            keras.layers.Dense(10, name="logits"),
        ]
    )


@cache
def trained(robust: bool = False, epochs: int = 12) -> Any:
    """A model of the digits: by plain training, or on FGSM rows with a random start."""
    import keras
    import tensorflow as tf

    data = digits()
    model = network()
    optimizer = keras.optimizers.Adam(5e-3)
    loss_of = keras.losses.SparseCategoricalCrossentropy(from_logits=True)

    @tf.function
    def step(rows: Any, labels: Any) -> None:
        if robust:
            start = rows + tf.random.uniform(tf.shape(rows), -EPSILON, EPSILON, seed=1)
            with tf.GradientTape() as tape:
                tape.watch(start)
                loss = loss_of(labels, model(start, training=False))
            moved = start + 1.25 * EPSILON * tf.sign(tape.gradient(loss, start))
            rows = tf.clip_by_value(rows + tf.clip_by_value(moved - rows, -EPSILON, EPSILON), 0, 1)
        with tf.GradientTape() as tape:
            loss = loss_of(labels, model(rows, training=True))
        variables = model.trainable_variables
        optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))

    batches = tf.data.Dataset.from_tensor_slices((data.train, data.train_labels)).shuffle(1400, 0).batch(100)
    for _ in range(epochs * (3 if robust else 1)):
        for rows, labels in batches:
            step(rows, labels)
    return model
