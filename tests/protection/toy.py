"""Calls of the model `toy` (see tests.savedmodels) through a channel, each method in few words."""

from collections.abc import Sequence
from typing import Any

import grpc
import numpy as np
from numpy.typing import NDArray

from protos import serving_pb2 as serving
from protos import tensor_pb2 as tensor
from protos.example_pb2 import Example
from proxy.tensors import set_array, to_array

SERVICE = "/tensorflow.serving.PredictionService/"
X = np.array([[0.4, 1.6, 2.4, 3.4], [4.4, 3.4, 2.4, 1.4]], dtype=np.float32)
"""Rounded to whole numbers: 0 2 2 3 and 4 3 2 1."""


def send(channel: grpc.Channel, method: str, body: bytes, **metadata: str) -> bytes:
    ask = channel.unary_unary(SERVICE + method)
    reply: bytes = ask(body, timeout=20, metadata=tuple(metadata.items()))
    return reply


def predict_request(signature: str = "", version: int | None = None, **inputs: Any) -> serving.PredictRequest:
    request = serving.PredictRequest()
    request.model_spec.name, request.model_spec.signature_name = "toy", signature
    if version is not None:
        request.model_spec.version.value = version
    for name, values in inputs.items():
        request.inputs[name].CopyFrom(proto(values))
    return request


def proto(values: Any, content: bool = True) -> tensor.TensorProto:
    array = np.asarray(values)
    kinds = {"float32": tensor.DT_FLOAT, "float64": tensor.DT_DOUBLE, "int64": tensor.DT_INT64}
    made = tensor.TensorProto(dtype=kinds.get(array.dtype.name, tensor.DT_STRING))
    if content:
        made.tensor_content = b"\0"
    set_array(made, array)
    return made


def strings(*values: bytes) -> NDArray[Any]:
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array


def predict(channel: grpc.Channel, signature: str = "", **inputs: Any) -> dict[str, NDArray[Any]]:
    reply = send(channel, "Predict", predict_request(signature, **inputs).SerializeToString())
    return {name: to_array(each) for name, each in serving.PredictResponse.FromString(reply).outputs.items()}


def example(row: Sequence[float], name: str = "x", **more: float) -> Example:
    made = Example()
    made.features.feature[name].float_list.value.extend(row)
    for key, value in more.items():
        made.features.feature[key].float_list.value.append(value)
    return made


def classify(channel: grpc.Channel, examples: Sequence[Example]) -> list[list[float]]:
    request = serving.ClassificationRequest()
    request.model_spec.name, request.model_spec.signature_name = "toy", "classify"
    request.input.example_list.examples.extend(examples)
    reply = serving.ClassificationResponse.FromString(send(channel, "Classify", request.SerializeToString()))
    return [[each.score for each in row.classes] for row in reply.result.classifications]


def regress(channel: grpc.Channel, examples: Sequence[Example], context: Example | None = None) -> list[float]:
    request = serving.RegressionRequest()
    request.model_spec.name, request.model_spec.signature_name = "toy", "regress"
    if context is None:
        request.input.example_list.examples.extend(examples)
    else:
        request.input.example_list_with_context.examples.extend(examples)
        request.input.example_list_with_context.context.CopyFrom(context)
    reply = serving.RegressionResponse.FromString(send(channel, "Regress", request.SerializeToString()))
    return [row.value for row in reply.result.regressions]


def multi(channel: grpc.Channel, signature: str, examples: Sequence[Example]) -> serving.InferenceResult:
    """One task: TensorFlow Serving wants one input tensor for all, and each signature of this model has its own."""
    request = serving.MultiInferenceRequest()
    task = request.tasks.add(method_name=f"tensorflow/serving/{signature}")
    task.model_spec.name, task.model_spec.signature_name = "toy", signature
    request.input.example_list.examples.extend(examples)
    reply = send(channel, "MultiInference", request.SerializeToString())
    return serving.MultiInferenceResponse.FromString(reply).results[0]
