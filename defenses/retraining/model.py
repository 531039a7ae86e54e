"""A classifier to be hardened: any Keras model, seen as logits, and saved in the form that it came in."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from defenses.imported import made
from defenses.retraining.sources import ModelSource


class ModelError(Exception):
    """The model cannot be retrained; the message says why, and the remedy."""


@dataclass(frozen=True)
class Classifier:
    """A Keras model with one input and one output of a class each.

    Attributes:
        whole: the model as it came in; it has the same weights.
        network: up to the logits.
        head: the last layer of `whole`, if its softmax is set aside while `network` is in use.
        gives: what `whole` gives.
        input: name of the input.
        shape: of one row.
        classes: number of classes.
        lower: the least value of an input.
        upper: the greatest.
    """

    whole: Any
    network: Any
    head: Any
    gives: str
    input: str
    shape: tuple[int, ...]
    classes: int
    lower: float
    upper: float

    def logits(self, x: Any, training: bool = False) -> Any:
        """Inputs (B, ...) to logits, float32 (B, C)."""
        answers = tf.cast(self.network(x, training=training), tf.float32)
        if self.gives == "probabilities" and self.network is self.whole and self.head is None:
            return tf.math.log(tf.maximum(answers, 1e-30))  # a softmax that cannot be taken off: log undoes it
        return answers

    def save(self, path: Path) -> None:
        """Writes `whole` as a .keras file, in one step."""
        partial = path.with_name(f".{path.name}.unfinished.keras")
        if self.head is not None:
            self.head.activation = keras.activations.softmax
        try:
            self.whole.save(partial)
        finally:
            if self.head is not None:
                self.head.activation = keras.activations.linear
        with partial.open("rb") as written:
            os.fsync(written.fileno())
        partial.replace(path)


def load(source: ModelSource) -> Classifier:
    """Reads or makes the model.

    Raises:
        ModelError: there is none, or it is no classifier that can be trained.
    """
    model = _from_file(source.file) if source.file is not None else _from_factory(source)
    if not model.built or (isinstance(model, keras.Sequential) and not model.layers):
        raise ModelError("the shape of the model's input is not known; begin the model with a keras.Input")
    if len(model.inputs or []) != 1 or len(model.outputs or []) != 1:
        raise ModelError("the model has to have one input and one output; wrap it in a keras.Model that has")
    shape, answers = model.inputs[0].shape[1:], model.outputs[0].shape
    if None in shape or len(answers) != 2 or answers[1] is None or answers[1] < 2:
        raise ModelError(
            f"inputs of shape {(None, *shape)} and outputs of shape {answers} are not those of a classifier: "
            "rows of a fixed shape, and one number for each of at least two classes"
        )
    if any(getattr(layer, "compute_dtype", None) == "float16" for layer in model.layers):
        raise ModelError("float16 loses small gradients; give the layers the dtype policy mixed_bfloat16, or float32")
    if not model.trainable_variables:
        raise ModelError("no weight of the model can be trained; set `trainable` of its layers")
    network, head = _without_softmax(model) if source.gives == "probabilities" else (model, None)
    name = source.input or model.inputs[0].name
    return Classifier(model, network, head, source.gives, name, tuple(shape), int(answers[1]), *source.range)


def check(classifier: Classifier, rows: Any) -> None:
    """Whether a model gives what it is said to give.

    Args:
        classifier: of `load`.
        rows: (n, ...), a few.

    Raises:
        ModelError: it does not.
    """
    if classifier.head is not None or classifier.network is not classifier.whole:
        return  # a softmax was found and set aside
    answers = np.asarray(classifier.network(tf.constant(rows), training=False), np.float32)
    distributed = bool((answers >= 0).all() and np.allclose(answers.sum(axis=1), 1, atol=1e-2))
    if distributed and classifier.gives == "logits":
        raise ModelError("model.gives: the model answers distributions; write `gives: probabilities`")
    if not distributed and classifier.gives == "probabilities":
        raise ModelError("model.gives: the model answers no distributions; write `gives: logits`")


def _from_file(path: Path) -> Any:
    if path.is_dir():
        raise ModelError(
            f"model.file: {path} is a folder: a SavedModel is a graph for serving, without the layers that training "
            "needs. Give the .keras file that it was exported from, or `factory` and `weights`"
        )
    if not path.is_file():
        raise ModelError(f"model.file: {path}: there is no such file; name a .keras file")
    if path.name == "saved_model.pb":
        return _from_file(path.parent)
    try:
        return keras.saving.load_model(path, compile=False)
    except Exception as error:  # whatever Keras meets in a foreign file
        raise ModelError(f"model.file: {path} cannot be read as a Keras model: {_line(error)}") from None


def _from_factory(source: ModelSource) -> Any:
    assert source.factory is not None
    try:
        model = made(source.factory, source.settings)
    except ValueError as error:
        raise ModelError(f"model.factory: {error}") from None
    if not isinstance(model, keras.Model):
        raise ModelError(f"model.factory: {source.factory!r} gives a {type(model).__name__}, not a keras.Model")
    if source.weights is not None:
        try:
            model.load_weights(source.weights)
        except Exception as error:  # whatever Keras meets in a foreign file
            raise ModelError(f"{source.weights} has no weights for {source.factory!r}: {_line(error)}") from None
    return model


def _without_softmax(model: Any) -> tuple[Any, Any]:
    """The model up to its logits, as a saturated softmax hides gradients; and the layer whose softmax was set aside."""
    last = model.layers[-1]
    if isinstance(last, keras.layers.Softmax) or (
        isinstance(last, keras.layers.Activation) and last.activation is keras.activations.softmax
    ):
        return keras.Model(model.inputs, last.input), None
    if getattr(last, "activation", None) is keras.activations.softmax:
        last.activation = keras.activations.linear
        return model, last
    return model, None


def _line(error: Exception) -> str:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0].partition(". ")[0][:300]
