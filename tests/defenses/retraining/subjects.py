"""Digits of 8x8, models of them that are trained in seconds, and one of them as a SavedModel with signatures."""

from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from defenses.retraining.model import Classifier
from tests.savedmodels import CLASSIFY, set_method_names

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


def classifier(model: Any, gives: str = "logits") -> Classifier:
    return Classifier(model, model, None, gives, "image", (8, 8, 1), 10, 0.0, 1.0)


@cache
def trained(robust: bool = False) -> Any:
    """A Keras model of the digits: by plain training, or on FGSM rows with a random start."""
    import keras
    import tensorflow as tf

    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((8, 8, 1), name="image"),
            keras.layers.Flatten(),
            keras.layers.Dense(64, activation="relu"),
            keras.layers.Dense(10, name="logits"),
        ]
    )
    optimizer = keras.optimizers.Adam(5e-3)
    optimizer.build(model.trainable_variables)
    loss_of = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    data = digits()

    def epoch(batches: Any) -> None:
        for rows, labels in batches:
            seen = rows
            if robust:
                start = rows + tf.random.uniform(tf.shape(rows), -EPSILON, EPSILON, seed=1)
                with tf.GradientTape() as tape:
                    tape.watch(start)
                    loss = loss_of(labels, model(start, training=False))
                moved = start + 1.25 * EPSILON * tf.sign(tape.gradient(loss, start))
                seen = tf.clip_by_value(rows + tf.clip_by_value(moved - rows, -EPSILON, EPSILON), 0, 1)
            with tf.GradientTape() as tape:
                loss = loss_of(labels, model(seen, training=True))
            variables = model.trainable_variables
            optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))

    run = tf.function(epoch)
    batches = tf.data.Dataset.from_tensor_slices((data.train, data.train_labels)).shuffle(1400, 0).batch(100)
    for _ in range(36 if robust else 12):
        run(batches)
    return model


def save_served(model: Any, folder: Path) -> Path:
    """A SavedModel as people serve them: serving_default with four outputs, and classify by tf.Example."""
    import tensorflow as tf

    module = tf.Module()
    module.weights = [variable.value for variable in model.variables]
    names = tf.constant([f"digit {n}" for n in range(10)])

    def serve(image: Any) -> dict[str, Any]:
        logits = model(image)
        ids = tf.argmax(logits, axis=-1)
        return {
            "logits": logits,
            "probabilities": tf.nn.softmax(logits),
            "class_ids": ids,
            "names": tf.gather(names, ids),
        }

    def classify(inputs: Any) -> dict[str, Any]:
        parsed = tf.io.parse_example(inputs, {"pixels": tf.io.FixedLenFeature((8, 8, 1), tf.float32)})
        scores = tf.nn.softmax(model(parsed["pixels"]))
        return {"classes": tf.tile(names[tf.newaxis], [tf.shape(scores)[0], 1]), "scores": scores}

    signatures = {
        "serving_default": tf.function(serve, [tf.TensorSpec([None, 8, 8, 1], tf.float32, name="image")]),
        "classify": tf.function(classify, [tf.TensorSpec([None], tf.string, name="inputs")]),
    }
    tf.saved_model.save(module, str(folder), signatures=signatures)
    set_method_names(folder, {"classify": CLASSIFY})
    return folder
