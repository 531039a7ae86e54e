"""Requests, built with the project's own messages: no TensorFlow is needed to run the suite."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from protos import example_pb2 as example
from protos import serving_pb2 as serving
from protos import tensor_pb2 as tensors
from protos.tensor_pb2 import TensorProto

X = np.array([[1.0, 2.0, 3.0, 4.0], [5.0, 6.0, 7.0, 8.0]], np.float32)
"""Two rows for the model `toy`, shape [2, 4]."""

ROW = X[0]


def spec(
    name: str = "toy", *, version: int | None = None, label: str | None = None, signature: str = ""
) -> serving.ModelSpec:
    """A ModelSpec; a version of 0 is set, not absent."""
    message = serving.ModelSpec(name=name, signature_name=signature)
    if version is not None:
        message.version.SetInParent()
        message.version.value = version
    if label is not None:
        message.version_label = label
    return message


def tensor(
    dtype: tensors.DataType = tensors.DT_FLOAT, shape: Sequence[int] | None = (2, 4), **fields: Any
) -> TensorProto:
    """A TensorProto with just these fields; no shape at all if it is None."""
    message = TensorProto(dtype=dtype, **fields)
    if shape is not None:
        message.tensor_shape.SetInParent()
        for size in shape:
            message.tensor_shape.dim.add(size=size)
    return message


def floats(values: np.ndarray[Any, Any] = X, **fields: Any) -> TensorProto:
    """The values in `float_val`, as most clients that are not Python send them."""
    return tensor(shape=values.shape, float_val=values.ravel().tolist(), **fields)


def content(values: np.ndarray[Any, Any] = X, **fields: Any) -> TensorProto:
    """The values in `tensor_content`, as `tf.make_tensor_proto` writes them."""
    return tensor(shape=values.shape, tensor_content=values.tobytes(), **fields)


def strings(*values: bytes) -> TensorProto:
    """A vector of strings."""
    return tensor(tensors.DT_STRING, (len(values),), string_val=values)


def predict(
    inputs: Mapping[str, TensorProto] | None = None,
    model: serving.ModelSpec | None = None,
    output_filter: Sequence[str] = (),
) -> serving.PredictRequest:
    """A PredictRequest; by default a good one for `toy`."""
    return serving.PredictRequest(
        model_spec=spec() if model is None else model,
        inputs={"x": floats()} if inputs is None else inputs,
        output_filter=output_filter,
    )


def features(x: Sequence[float] | example.Feature | None = None) -> example.Example:
    """A tf.Example with the feature `x`, if one is given."""
    if x is None:
        return example.Example()
    feature = x if isinstance(x, example.Feature) else example.Feature(float_list=example.FloatList(value=x))
    return example.Example(features=example.Features(feature={"x": feature}))


def examples(*rows: example.Example) -> serving.Input:
    """A list of examples."""
    return serving.Input(example_list=serving.ExampleList(examples=rows))


def classify(
    model: serving.ModelSpec | None = None, data: serving.Input | None = None
) -> serving.ClassificationRequest:
    """A ClassificationRequest; by default a good one for `toy`."""
    return serving.ClassificationRequest(model_spec=_or(model, "classify"), input=_or_rows(data))


def regress(model: serving.ModelSpec | None = None, data: serving.Input | None = None) -> serving.RegressionRequest:
    """A RegressionRequest; by default a good one for `toy`."""
    return serving.RegressionRequest(model_spec=_or(model, "regress"), input=_or_rows(data))


def task(method: str, model: serving.ModelSpec) -> serving.InferenceTask:
    """One task; `method` is classify or regress, or a name of its own."""
    known = method in ("classify", "regress")
    return serving.InferenceTask(model_spec=model, method_name=f"tensorflow/serving/{method}" if known else method)


def multi(*tasks: serving.InferenceTask, data: serving.Input | None = None) -> serving.MultiInferenceRequest:
    """A MultiInferenceRequest, its input one row for `half_plus_two` unless given."""
    return serving.MultiInferenceRequest(tasks=tasks, input=examples(features([2.0])) if data is None else data)


def _or(model: serving.ModelSpec | None, signature: str) -> serving.ModelSpec:
    return spec(signature=signature) if model is None else model


def _or_rows(data: serving.Input | None) -> serving.Input:
    return examples(features(ROW.tolist())) if data is None else data
