"""A retrained model as a SavedModel that callers cannot tell from the served one: each signature is built anew.

What an output of the served model means is learned from what it answers to some rows: logits or probabilities, the
class id, the class's name. A signature of serialized tf.Example is rebuilt from the features that its graph parses.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from defenses.retraining.model import Classifier
from defenses.retraining.robustness.subject import Rows, distribution
from defenses.retraining.signatures import Signature, SignatureError, differences, read_signatures

Answer = Callable[[Any], Any]
"""Logits (n, classes) as a tensor -> one output, (n,) or (n, classes)."""

ALIKE = 1e-3
"""How far a served model's outputs may be from what they are taken for."""


def export_like(served: Path, classifier: Classifier, rows: Rows, folder: Path) -> None:
    """Writes a SavedModel to `folder` with the signatures of the one in `served`.

    Args:
        served: version folder of the served model.
        classifier: the retrained model, which takes rows as the served one does.
        rows: (n, ...) a few rows of many classes, from which the meaning of outputs is learned.
        folder: written; must not exist.

    Raises:
        SignatureError: a signature is of a kind that cannot be rebuilt; the message names it.
    """
    import tensorflow as tf

    promised = read_signatures(served)
    loaded = tf.saved_model.load(str(served))
    unknown = sorted(promised.keys() - loaded.signatures.keys())
    if unknown:
        raise SignatureError(f"{served}: signature {unknown[0]} cannot be run, so it cannot be rebuilt")
    module = tf.Module()
    # Keras' own variables come twice in a SavedModel, and of these TensorFlow Serving restores the ones not in use.
    module.weights = [variable.value for variable in classifier.whole.variables]
    built = {
        name: _rebuilt(name, signature, loaded.signatures[name], classifier, rows)
        for name, signature in promised.items()
    }
    try:
        tf.saved_model.save(module, str(folder), signatures=built)
    except (AssertionError, ValueError) as error:
        raise SignatureError(f"the retrained model cannot be exported: {str(error).strip().splitlines()[0]}") from None
    _name_methods(folder, {name: signature.method for name, signature in promised.items()})
    wrong = differences(promised, read_signatures(folder))
    if wrong:
        raise SignatureError(f"the exported model differs from {served}: {'; '.join(wrong)}")


def _rebuilt(name: str, promised: Signature, function: Any, classifier: Classifier, rows: Rows) -> Any:
    import tensorflow as tf

    if len(promised.inputs) != 1:
        raise SignatureError(f"signature {name} has {len(promised.inputs)} inputs; only one can be rebuilt")
    ((argument, tensor),) = promised.inputs.items()
    shape = classifier.shape
    if tensor.dtype == "string":
        feature = _feature(name, function, shape)
        served_rows = tf.constant(_examples(feature, rows))

        def take(values: Any) -> Any:
            parsed = tf.io.parse_example(values, {feature: tf.io.FixedLenFeature(shape, tf.float32)})
            return parsed[feature]
    else:
        if tensor.shape is not None and any(
            size is not None and size != own for size, own in zip(tensor.shape[1:], shape, strict=False)
        ):
            raise SignatureError(
                f"signature {name}: {argument} is {tensor} and the retrained model takes rows of {shape}; "
                "retrain a model of the same input"
            )
        served_rows = tf.cast(rows, tensor.dtype)

        def take(values: Any) -> Any:
            return tf.reshape(tf.cast(values, tf.float32), (-1, *shape))

    try:
        answers = {key: np.asarray(value) for key, value in function(**{argument: served_rows}).items()}
    except (tf.errors.OpError, TypeError, ValueError) as error:
        raise SignatureError(
            f"signature {name} does not take rows of {shape}, as the retrained model does: {str(error).splitlines()[0]}"
        ) from None
    meanings = _meanings(name, answers, promised)
    shapes = {key: output.shape for key, output in promised.outputs.items()}

    def run(values: Any) -> dict[str, Any]:
        logits = classifier.logits(take(values))
        return {key: tf.ensure_shape(meaning(logits), shapes[key]) for key, meaning in meanings.items()}

    spec = tf.TensorSpec(tensor.shape, tensor.dtype, name=argument)
    return tf.function(run, [spec])


def _meanings(name: str, answers: Mapping[str, NDArray[Any]], promised: Signature) -> dict[str, Answer]:
    """What each output is of the logits, by what was answered."""
    floats = {
        key: value
        for key, value in answers.items()
        if value.dtype.kind == "f" and value.ndim == 2 and value.shape[1] > 1
    }
    if not floats:
        raise SignatureError(f"signature {name} answers no scores, from which its other outputs could be told")
    scores = next(iter(floats.values()))
    return {
        key: _meaning(f"signature {name}: output {key}", value, scores, promised.outputs[key].dtype)
        for key, value in answers.items()
    }


def _meaning(what: str, value: NDArray[Any], scores: NDArray[Any], dtype: str) -> Answer:
    import tensorflow as tf

    top = scores.argmax(axis=1)

    if value.dtype.kind == "f" and value.ndim == 2 and (value.argmax(axis=1) == top).all():
        if distribution(value):
            return lambda logits: tf.cast(tf.nn.softmax(logits), dtype)
        if (value <= 0).all() and np.allclose(np.exp(value).sum(axis=1), 1, atol=ALIKE):
            return lambda logits: tf.cast(tf.nn.log_softmax(logits), dtype)
        return lambda logits: tf.cast(logits, dtype)
    if value.dtype.kind in "iu" and value.ndim == 1 and (value == top).all():
        return lambda logits: tf.argmax(logits, axis=-1, output_type=dtype)
    if value.dtype.kind == "f" and value.ndim == 1 and (value <= 1).all() and (value > 0).all():
        return lambda logits: tf.cast(tf.reduce_max(tf.nn.softmax(logits), axis=-1), dtype)
    if value.dtype.kind == "O" and value.ndim == 2 and (value == value[:1]).all():
        names = tf.constant(value[0])
        return lambda logits: tf.tile(names[tf.newaxis], [tf.shape(logits)[0], 1])
    if value.dtype.kind == "O" and value.ndim == 1:
        own = {int(label): text for label, text in zip(top, value, strict=True)}
        if all(own[int(label)] == text for label, text in zip(top, value, strict=True)):
            return _names(what, [own.get(label) for label in range(scores.shape[1])])
    raise SignatureError(
        f"{what} is none of logits, probabilities, highest probability, class ids and class names of its rows, "
        "so it cannot be rebuilt for the retrained model"
    )


def _names(what: str, names: list[bytes | None]) -> Answer:
    import tensorflow as tf

    if None in names:
        raise SignatureError(f"{what}: no row was answered with class {names.index(None)}, so its name is unknown")
    known = tf.constant(names)
    return lambda logits: tf.gather(known, tf.argmax(logits, axis=-1))


def _feature(name: str, function: Any, shape: tuple[int, ...]) -> str:
    """The one feature of floats that a signature parses from serialized tf.Example."""
    from tensorflow import make_ndarray

    graph = function.graph.as_graph_def()
    for nodes in (graph.node, *(each.node_def for each in graph.library.function)):
        constants = {node.name: node for node in nodes if node.op == "Const"}
        for node in nodes:
            if node.op != "ParseExampleV2":
                continue
            keys = make_ndarray(constants[node.input[3].split(":")[0]].attr["value"].tensor)
            if len(keys) == 1:
                return str(keys[0].decode())
    raise SignatureError(
        f"signature {name} takes strings that are not parsed as tf.Example with one feature of {shape}; "
        "it cannot be rebuilt"
    )


def _examples(feature: str, rows: Rows) -> list[bytes]:
    import tensorflow as tf

    return [
        tf.train.Example(
            features=tf.train.Features(
                feature={feature: tf.train.Feature(float_list=tf.train.FloatList(value=row.reshape(-1)))}
            )
        ).SerializeToString()
        for row in rows
    ]


def _name_methods(folder: Path, methods: Mapping[str, str]) -> None:
    """Classify and Regress need a method that `tf.saved_model.save` cannot express; it knows Predict alone."""
    from tensorflow.core.protobuf import saved_model_pb2

    path = folder / "saved_model.pb"
    model = saved_model_pb2.SavedModel.FromString(path.read_bytes())
    for graph in model.meta_graphs:
        for name, method in methods.items():
            if name in graph.signature_def:
                graph.signature_def[name].method_name = method
    path.write_bytes(model.SerializeToString(deterministic=True))
