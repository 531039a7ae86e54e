"""The network of basic.yaml, and its rows: `python basic.py fashion-mnist` or `python basic.py digits` writes them."""

import sys
from typing import Any, cast

import numpy as np


def network() -> Any:
    """A small dense network for 28x28 images."""
    import keras

    return keras.Sequential(
        [
            keras.Input((28, 28, 1), name="image"),
            keras.layers.Flatten(),
            keras.layers.Dense(128, activation="relu"),
            keras.layers.Dense(10, activation="softmax"),
        ]
    )


def digits_network() -> Any:
    """The same for 8x8 digits."""
    import keras

    layers = [keras.layers.Flatten(), keras.layers.Dense(128, activation="relu"), keras.layers.Dense(10, "softmax")]
    return keras.Sequential([keras.Input((8, 8, 1), name="image"), *layers])


if __name__ == "__main__":
    from proxy.demo.data import Choice, load

    rows = load(cast(Choice, sys.argv[1]))
    np.savez("train.npz", x=rows.x_train, y=rows.y_train)
    np.savez("test.npz", x=rows.x_test, y=rows.y_test)
