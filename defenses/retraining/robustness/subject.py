"""The model under attack, whatever file it came from: rows in, logits out, and differentiable."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from defenses.retraining.model import Classifier

Rows = NDArray[np.float32]
"""(n, ...) as the model takes them."""
Labels = NDArray[np.integer[Any]]
"""(n,) class ids."""
Scores = NDArray[np.float32]
"""(n, classes), logits or their like: what is right about them is their order and, after a softmax, their size."""

BATCH = 256
"""Rows run together."""
SMALLEST = 1e-30
"""Probabilities below are taken for it before the logarithm; far below what a softmax of float32 can tell apart."""


class SubjectError(Exception):
    """A model that cannot be attacked as it is; `str()` says why and the remedy."""


@dataclass(frozen=True)
class Subject:
    """A classifier.

    Attributes:
        name: for tables and sentences.
        logits: tensors (n, ...) -> (n, classes), through which a tf.GradientTape sees.
        low, high: of the values of a row.
    """

    name: str
    logits: Callable[[Any], Any]
    low: float = 0.0
    high: float = 1.0

    def scores(self, rows: Rows) -> Scores:
        """The logits of rows (n, ...)."""
        parts = [np.asarray(self.logits(part), np.float32) for part in batches(rows)]
        return np.concatenate(parts)

    def right(self, rows: Rows, labels: Labels) -> NDArray[np.bool_]:
        """(n,) whether the highest logit is the label's."""
        return np.asarray(self.scores(rows).argmax(axis=1) == labels)


def batches(rows: Rows) -> list[Any]:
    """Rows as tensors of at most BATCH."""
    import tensorflow as tf

    return [tf.convert_to_tensor(rows[at : at + BATCH], tf.float32) for at in range(0, len(rows), BATCH)]


def of_classifier(name: str, classifier: "Classifier") -> Subject:
    """A Keras model, as it is in inference."""
    import tensorflow as tf

    return Subject(name, tf.function(classifier.logits, reduce_retracing=True), classifier.lower, classifier.upper)


def of_saved_model(
    name: str,
    folder: Path,
    *,
    signature: str = "serving_default",
    output: str | None = None,
    low: float = 0.0,
    high: float = 1.0,
) -> Subject:
    """A SavedModel as it is served. Gradients go through its graph, so no Keras file is needed to attack it.

    Args:
        name: of the subject.
        folder: the version folder.
        signature: that is attacked; of one numeric input.
        output: the one that is read; absent: the one called logits, else one of floats (n, classes).
        low, high: of the values of a row.

    Raises:
        SubjectError: it cannot be loaded, or has no such signature or output.
    """
    import tensorflow as tf

    try:
        loaded = tf.saved_model.load(str(folder))
    except (OSError, ValueError, tf.errors.OpError) as error:
        raise SubjectError(f"{folder} cannot be loaded as a SavedModel: {str(error).splitlines()[0]}") from None
    if signature not in loaded.signatures:
        there = ", ".join(sorted(loaded.signatures)) or "none"
        raise SubjectError(f"{folder} has no signature {signature!r}, only {there}; name one of these")
    function = loaded.signatures[signature]
    inputs = function.structured_input_signature[1]
    if len(inputs) != 1:
        raise SubjectError(
            f"{folder}: signature {signature!r} takes {', '.join(sorted(inputs))}; "
            "only models of one input can be attacked"
        )
    ((argument, spec),) = inputs.items()
    if not spec.dtype.is_floating:
        raise SubjectError(
            f"{folder}: input {argument!r} takes {spec.dtype.name}; a gradient needs floats: name another signature"
        )
    chosen = _output(folder, function.structured_outputs, output)

    def answer(rows: Any) -> Any:
        return tf.cast(function(**{argument: tf.cast(rows, spec.dtype)})[chosen], tf.float32)

    shape = (1, *(size or 1 for size in (spec.shape.as_list() or [None])[1:]))
    probe = tf.fill(shape, tf.constant((low + high) / 2, tf.float32))
    with tf.GradientTape() as tape:
        tape.watch(probe)
        probed = answer(probe)
    if tape.gradient(probed, probe) is None:
        raise SubjectError(f"{folder}: no gradient goes from {chosen!r} to {argument!r}; name another output")
    probabilities = distribution(np.asarray(probed, np.float32))

    def logits(rows: Any, kept: Any = loaded) -> Any:  # a signature does not keep its model's variables alive
        del kept
        return _logarithm(answer(rows)) if probabilities else answer(rows)

    return Subject(name, logits, low, high)


def distribution(values: NDArray[Any]) -> bool:
    """Whether every row of (n, classes) is a distribution."""
    return bool((values >= 0).all() and np.allclose(values.sum(axis=1), 1, atol=1e-3))


def _output(folder: Path, outputs: dict[str, Any], output: str | None) -> str:
    fitting = [
        name
        for name, spec in sorted(outputs.items(), key=lambda item: ("logits" not in item[0], item[0]))
        if spec.dtype.is_floating and spec.shape.rank == 2
    ]
    if output is None and fitting:
        return fitting[0]
    if output is None or output not in outputs:
        raise SubjectError(
            f"{folder}: it has the outputs {', '.join(sorted(outputs))}; "
            + (f"there is no {output!r}" if output else "none is of floats (rows, classes)")
        )
    return output


def _logarithm(probabilities: Any) -> Any:
    import tensorflow as tf

    return tf.math.log(tf.maximum(probabilities, SMALLEST))
