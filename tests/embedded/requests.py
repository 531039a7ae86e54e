"""Short ways to write requests, and what a refused call says."""

from collections.abc import Callable, Sequence
from typing import Any

import grpc
import numpy as np
import pytest

from proxy.embedded.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    model_pb2,
    predict_pb2,
    regression_pb2,
)
from proxy.embedded.runtime import tf

X = np.array([[1, 2, 3, 4]], np.float32)
CODE = grpc.StatusCode


def refusal(call: Callable[..., Any], request: Any, **options: Any) -> tuple[grpc.StatusCode, str]:
    """Code and details of a call that must fail."""
    with pytest.raises(grpc.RpcError) as raised:
        call(request, timeout=20, **options)
    return raised.value.code(), raised.value.details()


def spec(name: str = "toy", signature: str = "", version: int | None = None, label: str | None = None) -> Any:
    made = model_pb2.ModelSpec(name=name, signature_name=signature)
    if version is not None:
        made.version.value = version
    if label is not None:
        made.version_label = label
    return made


def predict(model_spec: Any = None, output_filter: Sequence[str] = (), **inputs: Any) -> Any:
    """A PredictRequest (to toy by default); inputs are TensorProtos or what `tf.make_tensor_proto` takes."""
    request = predict_pb2.PredictRequest(model_spec=model_spec or spec(), output_filter=output_filter)
    for alias, value in inputs.items():
        request.inputs[alias].CopyFrom(value if hasattr(value, "tensor_shape") else tf.make_tensor_proto(value))
    return request


def example(*values: float, feature: str = "x") -> Any:
    made = tf.train.Example()
    made.features.feature[feature].float_list.value.extend(values)
    return made


def classify(model_spec: Any, *examples: Any) -> Any:
    request = classification_pb2.ClassificationRequest(model_spec=model_spec)
    request.input.example_list.examples.extend(examples)
    return request


def regress(model_spec: Any, *examples: Any) -> Any:
    request = regression_pb2.RegressionRequest(model_spec=model_spec)
    request.input.example_list.examples.extend(examples)
    return request


def multi(*tasks: tuple[Any, str], examples: Sequence[Any]) -> Any:
    """A MultiInferenceRequest of (ModelSpec, method) pairs."""
    request = inference_pb2.MultiInferenceRequest()
    request.input.example_list.examples.extend(examples)
    for model_spec, method in tasks:
        request.tasks.add(model_spec=model_spec, method_name=f"tensorflow/serving/{method}")
    return request


def metadata(model_spec: Any, *fields: str) -> Any:
    return get_model_metadata_pb2.GetModelMetadataRequest(model_spec=model_spec, metadata_field=fields)


def status(model_spec: Any) -> Any:
    return get_model_status_pb2.GetModelStatusRequest(model_spec=model_spec)
