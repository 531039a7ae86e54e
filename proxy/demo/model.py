"""A small classifier, trained once and kept: as a SavedModel to serve, and as a Keras file for white-box attacks.

TensorFlow is imported only to train, so that a kept model costs nothing.
"""

import dataclasses
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

from proxy.demo.data import Dataset, Say
from proxy.muted import muted_stderr

RECORD = "model.json"


@dataclass(frozen=True)
class Recipe:
    """Whatever decides what the trained model is; a change of any of it trains anew.

    Attributes:
        data: SHA-256 of the images and labels.
        filters: of the two convolutions, 3x3 with stride 2.
        dense: units of the hidden layer.
        epochs: passes over the training images.
        batch: rows a step.
        learning_rate: Adam's at the start; it falls to 0 along a cosine.
        seed: of the weights and of the order of the rows.
        libraries: what trained and saved it.
        layout: raised when the files or the signatures change.
    """

    data: str
    epochs: int
    filters: tuple[int, int] = (16, 32)
    dense: int = 64
    batch: int = 128
    learning_rate: float = 3e-3
    seed: int = 0
    libraries: str = ""
    layout: int = 1

    @property
    def digest(self) -> str:
        """16 hexadecimal digits that name this recipe."""
        return hashlib.sha256(json.dumps(dataclasses.asdict(self)).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class DemoModel:
    """A trained model on disk.

    Attributes:
        name: what it is served as.
        versions: its base path for a model server, holding `1/`. Signatures: `serving_default` image float[-1, H, W, 1]
            in [0, 1] -> logits and probabilities float[-1, C], class_ids int64[-1]; `classify` (serialized tf.Example,
            feature image of H*W floats) -> classes string[-1, C], scores float[-1, C].
        keras: the same model as a Keras file, giving logits.
        accuracy: on the test images, in [0, 1].
        reused: it was there already.
    """

    name: str
    versions: Path
    keras: Path
    accuracy: float
    reused: bool


def demo_model(dataset: Dataset, cache: Path, say: Say = lambda _: None) -> DemoModel:
    """The model for a data set: the one under `cache` if it was made by the same recipe, else a new one, kept there.

    Args:
        dataset: what to train and test on.
        cache: a folder, made if missing. Several processes may use it at once.
        say: told of each epoch.

    Raises:
        OSError: `cache` cannot be written.
        ImportError: TensorFlow is not installed.
    """
    recipe = _recipe(dataset)
    kept = cache / f"{dataset.name}-{recipe.digest}"
    reused = (kept / RECORD).is_file()
    if not reused:
        with _workshop(cache) as folder:
            made = Path(folder) / "made"
            _make(recipe, dataset, made, say)
            _keep(made, kept)
    accuracy = float(json.loads((kept / RECORD).read_text())["accuracy"])
    return DemoModel(dataset.name, kept / dataset.name, kept / f"{dataset.name}.keras", accuracy, reused)


def _workshop(cache: Path) -> tempfile.TemporaryDirectory[str]:
    try:
        cache.mkdir(parents=True, exist_ok=True)
        return tempfile.TemporaryDirectory(prefix=".making-", dir=cache, ignore_cleanup_errors=True)
    except OSError as error:
        raise type(error)(
            error.errno, f"the model cannot be kept ({error.strerror}); name another folder", str(cache)
        ) from None


def _recipe(dataset: Dataset) -> Recipe:
    digest = hashlib.sha256()
    for array in (dataset.x_train, dataset.y_train, dataset.x_test, dataset.y_test):
        digest.update(array.tobytes())
    steps = -(-len(dataset.y_train) // Recipe.batch)
    libraries = " ".join(f"{name} {version(name)}" for name in ("tensorflow", "keras"))
    return Recipe(data=digest.hexdigest(), epochs=max(3, min(40, 400 // steps)), libraries=libraries)


def _keep(made: Path, kept: Path) -> None:
    """Moves a finished model to its place in one step; if another process was faster, its model stays."""
    try:
        made.rename(kept)
    except OSError:
        if not (kept / RECORD).is_file():
            shutil.rmtree(kept, ignore_errors=True)  # a broken one
            made.rename(kept)


def _make(recipe: Recipe, dataset: Dataset, folder: Path, say: Say) -> None:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # TensorFlow's remarks on the machine
    with muted_stderr():
        import keras

    keras.utils.set_random_seed(recipe.seed)
    model = _network(keras, recipe, dataset)
    _train(keras, model, recipe, dataset, say)
    _, accuracy = model.evaluate(dataset.x_test, dataset.y_test, batch_size=1000, verbose=0)
    folder.mkdir()
    model.save(folder / f"{dataset.name}.keras")
    _export(model, dataset, folder / dataset.name / "1")
    record = {"accuracy": accuracy, **dataclasses.asdict(recipe)}
    (folder / RECORD).write_text(json.dumps(record, indent=1) + "\n")


def _train(keras: Any, model: Any, recipe: Recipe, dataset: Dataset, say: Say) -> None:
    steps = -(-len(dataset.y_train) // recipe.batch) * recipe.epochs
    model.compile(
        keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(recipe.learning_rate, steps)),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )

    def tell(epoch: int, logs: Mapping[str, float]) -> None:
        done = epoch + 1
        if 4 * done % recipe.epochs < 4:  # four times, whatever their number
            say(f"epoch {done} of {recipe.epochs}: {logs['accuracy']:.1%} right on the training images")

    model.fit(
        dataset.x_train,
        dataset.y_train,
        batch_size=recipe.batch,
        epochs=recipe.epochs,
        callbacks=[keras.callbacks.LambdaCallback(on_epoch_end=tell)],
        verbose=0,
    )


def _network(keras: Any, recipe: Recipe, dataset: Dataset) -> Any:
    convolution = partial(keras.layers.Conv2D, kernel_size=3, strides=2, padding="same", activation="relu")
    return keras.Sequential(
        [
            keras.Input(dataset.x_train.shape[1:], name="image"),
            *(convolution(filters) for filters in recipe.filters),
            keras.layers.Flatten(),
            keras.layers.Dense(recipe.dense, activation="relu"),
            keras.layers.Dense(len(dataset.class_names), name="logits"),
        ]
    )


def _export(model: Any, dataset: Dataset, folder: Path) -> None:
    import keras
    import tensorflow as tf

    shape = dataset.x_train.shape[1:]
    names = tf.constant(dataset.class_names)

    def serve(image: Any) -> dict[str, Any]:
        logits = model(image)
        return {"logits": logits, "probabilities": tf.nn.softmax(logits), "class_ids": tf.argmax(logits, axis=-1)}

    def classify(inputs: Any) -> dict[str, Any]:
        parsed = tf.io.parse_example(inputs, {"image": tf.io.FixedLenFeature(shape, tf.float32)})
        scores = tf.nn.softmax(model(parsed["image"]))
        return {"classes": tf.tile(names[tf.newaxis], [tf.shape(scores)[0], 1]), "scores": scores}

    archive = keras.export.ExportArchive()
    archive.track(model)
    archive.add_endpoint("serving_default", serve, [tf.TensorSpec((None, *shape), tf.float32, name="image")])
    archive.add_endpoint("classify", classify, [tf.TensorSpec((None,), tf.string, name="inputs")])
    archive.write_out(folder, verbose=False)
