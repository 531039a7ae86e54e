"""Classify, Regress and MultiInference: tf.Examples in, scores or values out (classifier.cc, regressor.cc,
multi_inference.cc of TensorFlow Serving, with its signature method name check off, which is the default).
"""

from collections.abc import Mapping, Sequence
from typing import Any

import grpc
import numpy as np

from proxy.embedded.apis import classification_pb2, inference_pb2, model_pb2, regression_pb2, types_pb2
from proxy.embedded.models import Models
from proxy.embedded.predict import fill_model_spec
from proxy.embedded.runtime import tf
from proxy.embedded.servable import DEFAULT_SIGNATURE, Output, Servable
from proxy.embedded.status import StatusError, invalid_argument
from proxy.embedded.tensors import Array

CLASSIFY = "tensorflow/serving/classify"
REGRESS = "tensorflow/serving/regress"
INPUTS, CLASSES, SCORES, OUTPUTS = "inputs", "classes", "scores", "outputs"


def classify(models: Models, request: Any, timeout: float | None) -> Any:
    """ClassificationResponse for a ClassificationRequest.

    Raises:
        StatusError: code and text as TensorFlow Serving's.
    """
    response = classification_pb2.ClassificationResponse()
    _infer_one(models, request, CLASSIFY, timeout, response.model_spec, response.result)
    return response


def regress(models: Models, request: Any, timeout: float | None) -> Any:
    """RegressionResponse for a RegressionRequest.

    Raises:
        StatusError: code and text as TensorFlow Serving's.
    """
    response = regression_pb2.RegressionResponse()
    _infer_one(models, request, REGRESS, timeout, response.model_spec, response.result)
    return response


def _infer_one(models: Models, request: Any, method: str, timeout: float | None, spec: Any, result: Any) -> None:
    if not request.HasField("model_spec"):
        raise invalid_argument("Missing ModelSpec")
    with models.lease(request.model_spec) as servable:
        name = request.model_spec.signature_name or DEFAULT_SIGNATURE
        signature = servable.signatures.get(name)
        if signature is None:
            raise invalid_argument(f"No signature was found with the name: {name}")
        input_name, fetches = _PREPARE[method](signature)
        examples = _examples(request.input)
        outputs = _run(servable, input_name, examples, fetches, timeout)
        _FILL[method](signature, len(examples), outputs, result)
        fill_model_spec(spec, servable.name, servable.version, name)


def multi_inference(models: Models, request: Any, timeout: float | None) -> Any:
    """MultiInferenceResponse for a MultiInferenceRequest: all tasks on one model and input, in one run.

    Raises:
        StatusError: code and text as TensorFlow Serving's.
    """
    first = request.tasks[0].model_spec if request.tasks else model_pb2.ModelSpec()
    with models.lease(first) as servable:
        input_name, fetches = _prepare_tasks(servable, request.tasks)
        examples = _examples(request.input)
        outputs = _run(servable, input_name, examples, sorted(fetches), timeout)
        response = inference_pb2.MultiInferenceResponse()
        for task in request.tasks:
            name = task.model_spec.signature_name or DEFAULT_SIGNATURE
            result = response.results.add()
            target = result.classification_result if task.method_name == CLASSIFY else result.regression_result
            _FILL[task.method_name](servable.signatures[name], len(examples), outputs, target)
            fill_model_spec(result.model_spec, servable.name, servable.version, name)
        return response


def _prepare_tasks(servable: Servable, tasks: Sequence[Any]) -> tuple[str, set[str]]:
    """The one input tensor and all output tensors of the tasks."""
    model = tasks[0].model_spec.name
    input_name, fetches, seen = "", set[str](), set[str]()
    for task in tasks:
        name = task.model_spec.signature_name or DEFAULT_SIGNATURE
        _check_task(task, name, model, seen, servable)
        seen.add(name)
        prepare = _PREPARE.get(task.method_name)
        if prepare is None:
            message = f"Unsupported signature method_name: {task.method_name}"
            raise StatusError(grpc.StatusCode.UNIMPLEMENTED, message)
        this_input, names = prepare(servable.signatures[name])
        input_name = input_name or this_input
        if input_name != this_input:
            raise invalid_argument("Input tensor must be the same for all Signatures.")
        fetches.update(names)
    return input_name, fetches


def _check_task(task: Any, name: str, model: str, seen: set[str], servable: Servable) -> None:
    if not task.model_spec.name:
        raise invalid_argument("Found ModelSpec with an empty model name.")
    if task.model_spec.name != model:
        raise invalid_argument("All ModelSpecs in a MultiInferenceRequest must access the same model name.")
    if name in seen:
        raise invalid_argument(f"Duplicate evaluation of signature: {name}")
    if name not in servable.signatures:
        raise invalid_argument(f"Requested signature not found in model graph: {name}")


def _examples(given: Any) -> list[bytes]:
    """Serialized tf.Examples, the context's features merged in: concatenated messages parse as merged ones."""
    kind = given.WhichOneof("kind")
    context, examples = b"", ()
    if kind == "example_list":
        examples = given.example_list.examples
    elif kind == "example_list_with_context":
        context = given.example_list_with_context.context.SerializeToString()
        examples = given.example_list_with_context.examples
    if not examples:
        raise invalid_argument("Input is empty.")
    return [context + example.SerializeToString() for example in examples]


def _run(
    servable: Servable, input_name: str, examples: Sequence[bytes], fetches: Sequence[str], timeout: float | None
) -> dict[str, Output]:
    outputs = servable.run([(input_name, np.array(examples, dtype=object))], fetches, timeout)
    return dict(zip(fetches, outputs, strict=True))


def _prepare_classify(signature: Any) -> tuple[str, list[str]]:
    """Input tensor and output tensors of a signature that can classify (`PreProcessClassification`)."""
    if len(signature.inputs) != 1:
        raise invalid_argument("Expected one input Tensor.")
    if len(signature.outputs) not in (1, 2):
        raise invalid_argument(f"Expected one or two output Tensors, found {len(signature.outputs)}")
    if INPUTS not in signature.inputs:
        raise invalid_argument(f"No classification inputs found in SignatureDef: {signature}")
    fetches = [signature.outputs[key].name for key in (CLASSES, SCORES) if key in signature.outputs]
    if not fetches:
        raise invalid_argument(
            f'Expected classification signature outputs to contain at least one of "{CLASSES}" or "{SCORES}". '
            f"Signature was: {signature}"
        )
    return signature.inputs[INPUTS].name, fetches


def _prepare_regress(signature: Any) -> tuple[str, list[str]]:
    """Input tensor and output tensor of a signature that can regress (`PreProcessRegression`)."""
    if len(signature.inputs) != 1:
        raise invalid_argument("Expected one input Tensor.")
    if len(signature.outputs) != 1:
        raise invalid_argument("Expected one output Tensor.")
    if INPUTS not in signature.inputs:
        raise invalid_argument(f"No regression inputs found in SignatureDef: {signature}")
    if OUTPUTS not in signature.outputs:
        raise invalid_argument(f"No regression outputs found in SignatureDef: {signature}")
    return signature.inputs[INPUTS].name, [signature.outputs[OUTPUTS].name]


def _fill_classification(signature: Any, count: int, outputs: Mapping[str, Output], result: Any) -> None:
    """A ClassificationResult of classes and scores [count, classes] (`PostProcessClassificationResult`)."""
    classes = _matrix(signature, CLASSES, tf.string, count, outputs)
    scores = _matrix(signature, SCORES, tf.float32, count, outputs)
    if classes is not None and scores is not None and classes.shape[1] != scores.shape[1]:
        raise invalid_argument(
            f"Tensors class and score should match in dim_size(1). Got {classes.shape[1]} vs. {scores.shape[1]}"
        )
    labels = classes.tolist() if classes is not None else None
    values = scores.tolist() if scores is not None else None
    for row in range(count):
        added = result.classifications.add().classes
        for column in range(len((labels or values or [[]])[row])):
            one = added.add()
            if labels is not None:
                one.label = labels[row][column].decode("utf-8", "replace")
            if values is not None:
                one.score = values[row][column]


def _matrix(signature: Any, key: str, dtype: Any, count: int, outputs: Mapping[str, Output]) -> Array | None:
    if key not in signature.outputs:
        return None
    output = outputs[signature.outputs[key].name]
    array = output.value
    if array.ndim != 2:
        raise invalid_argument(f"Expected Tensor shape: [batch_size num_classes] but got {_shape(array)}")
    if output.dtype != dtype:
        wanted, got = _enum_name(dtype), _enum_name(output.dtype)
        raise invalid_argument(f"Expected {key} Tensor of {wanted}. Got: {got}")
    if array.shape[0] != count:
        raise invalid_argument(f"Expected {key} output batch size of {count}. Got: {array.shape[0]}")
    return array


def _fill_regression(signature: Any, count: int, outputs: Mapping[str, Output], result: Any) -> None:
    """A RegressionResult of values [count] or [count, 1] (`PostProcessRegressionResult`)."""
    output = outputs[signature.outputs[OUTPUTS].name]
    array = output.value
    if not (array.ndim == 1 or (array.ndim == 2 and array.shape[1] == 1)):
        raise invalid_argument(
            f"Expected output Tensor shape to be either [batch_size] or [batch_size, 1] but got {_shape(array)}"
        )
    if array.shape[0] != count:
        raise invalid_argument(f"Input batch size did not match output batch size: {count} vs. {array.shape[0]}")
    if output.dtype != tf.float32:
        raise invalid_argument(f"Expected output Tensor of DT_FLOAT.  Got: {_enum_name(output.dtype)}")
    for value in array.ravel().tolist():
        result.regressions.add().value = value


def _shape(array: Array) -> str:
    return "[" + ",".join(map(str, array.shape)) + "]"


def _enum_name(dtype: Any) -> str:
    return str(types_pb2.DataType.Name(dtype.as_datatype_enum))


_PREPARE = {CLASSIFY: _prepare_classify, REGRESS: _prepare_regress}
_FILL = {CLASSIFY: _fill_classification, REGRESS: _fill_regression}
