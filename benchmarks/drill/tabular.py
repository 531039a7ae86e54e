"""The second model: handwritten digits as a table of 64 numbers a row, from scikit-learn, and a small network."""

import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

TRAINED, POOL, LEARNED = 500, 300, 450
"""Rows for the model, for attackers, and for the calibration; drills have the other 547."""
CLASSES = 10


def rows() -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """(1797, 64) counts of ink in 0 to 16, and their classes, in random order."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    order = np.random.default_rng(0).permutation(len(bunch.target))
    return bunch.data[order].astype(np.float32), bunch.target[order].astype(np.int64)


def write(folder: Path) -> float:
    """Trains the network and saves it as version 1 under `folder`; its accuracy on the drill's rows.

    Signature: features float[-1, 64] -> probabilities float[-1, 10].
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import keras
    import tensorflow as tf

    keras.utils.set_random_seed(0)
    x, y = rows()
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((x.shape[1],), name="features"),
            layers.Rescaling(1 / 16),
            layers.Dense(64, activation="relu"),
            layers.Dense(CLASSES, activation="softmax"),
        ]
    )
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(x[:TRAINED], y[:TRAINED], epochs=60, batch_size=32, verbose=0)
    _, accuracy = model.evaluate(*held_apart(x, y), verbose=0)

    def serve(features: Any) -> dict[str, Any]:
        return {"probabilities": model(features)}

    archive = keras.export.ExportArchive()
    archive.track(model)
    archive.add_endpoint("serving_default", serve, [tf.TensorSpec((None, x.shape[1]), tf.float32, name="features")])
    archive.write_out(folder / "1", verbose=False)
    return float(accuracy)


def held_apart(*arrays: NDArray[Any]) -> list[NDArray[Any]]:
    """The drill's part."""
    return [each[TRAINED + POOL + LEARNED :] for each in arrays]
