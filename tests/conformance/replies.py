"""What good replies must hold: assertions on a reply's bytes, made from the values that are expected."""

from collections.abc import Callable
from typing import Any

import numpy as np
from google.protobuf.internal.containers import MessageMap

from protos import serving_pb2 as serving
from protos import tensor_pb2 as tensors
from protos.tensor_pb2 import TensorProto

Reply = Callable[[bytes], None]
Array = np.ndarray[Any, Any]
Classes = list[list[tuple[str, float]]]
"""Label and score of each class of each row."""

LATEST = 2
"""The version of `toy` that answers when none is asked for."""

_FIELDS = {tensors.DT_FLOAT: "float_val", tensors.DT_INT64: "int64_val", tensors.DT_STRING: "string_val"}
_DTYPES = {"f": tensors.DT_FLOAT, "i": tensors.DT_INT64, "O": tensors.DT_STRING}


def toy(x: Array, version: int = LATEST) -> dict[str, Array]:
    """What the model `toy` makes of rows of 4 floats, as `tests.savedmodels` defines it."""
    logits = x.astype(np.float64) @ (np.arange(12).reshape(4, 3) / 10 * version)
    shifted = np.exp(logits - logits.max(axis=-1, keepdims=True)) if len(x) else logits
    return {
        "logits": logits.astype(np.float32),
        "probs": (shifted / shifted.sum(axis=-1, keepdims=True)).astype(np.float32),
        "cls": logits.argmax(axis=-1),
    }


def text(*values: bytes) -> Array:
    """A vector of strings."""
    return np.array(values, object)


def predicted(
    outputs: dict[str, Array],
    *,
    name: str = "toy",
    version: int = LATEST,
    signature: str = "serving_default",
    in_content: bool = False,
) -> Reply:
    """These outputs and no others, the version that ran, the signature's full name, no label.

    Values stand in the typed fields, as TensorFlow Serving writes them unless it was told otherwise (`in_content`).
    """

    def check(reply: bytes) -> None:
        response = serving.PredictResponse.FromString(reply)
        _same_spec(response.model_spec, name, version, signature)
        _same_tensors(response.outputs, outputs, in_content)

    return check


def not_a_number(*outputs: str) -> Reply:
    """These outputs hold nothing but NaN."""

    def check(reply: bytes) -> None:
        response = serving.PredictResponse.FromString(reply)
        assert sorted(response.outputs) == sorted(outputs)
        for output in outputs:
            assert np.isnan(response.outputs[output].float_val).all()

    return check


def classified(rows: Classes, *, name: str = "toy", version: int = LATEST, signature: str) -> Reply:
    """Labels and scores of each row."""

    def check(reply: bytes) -> None:
        response = serving.ClassificationResponse.FromString(reply)
        _same_spec(response.model_spec, name, version, signature)
        _same_classes(response.result, rows)

    return check


def regressed(values: list[float], *, name: str = "toy", version: int = LATEST, signature: str) -> Reply:
    """A value for each row."""

    def check(reply: bytes) -> None:
        response = serving.RegressionResponse.FromString(reply)
        _same_spec(response.model_spec, name, version, signature)
        np.testing.assert_allclose([row.value for row in response.result.regressions], values, rtol=1e-5)

    return check


def inferred(*results: tuple[str, Classes | list[float]]) -> Reply:
    """The results of `half_plus_two`'s signatures, in the order of the tasks."""

    def check(reply: bytes) -> None:
        response = serving.MultiInferenceResponse.FromString(reply)
        assert len(response.results) == len(results)
        for result, (signature, rows) in zip(response.results, results, strict=True):
            _same_spec(result.model_spec, "half_plus_two", 1, signature)
            if result.WhichOneof("result") == "classification_result":
                _same_classes(result.classification_result, rows)
            else:
                assert [row.value for row in result.regression_result.regressions] == rows

    return check


def described(version: int = LATEST) -> Reply:
    """The signatures of `toy`, initialisation included; the model_spec names no signature."""

    def check(reply: bytes) -> None:
        response = serving.GetModelMetadataResponse.FromString(reply)
        _same_spec(response.model_spec, "toy", version, "")
        assert list(response.metadata) == ["signature_def"]
        packed = response.metadata["signature_def"]
        assert packed.type_url == "type.googleapis.com/tensorflow.serving.SignatureDefMap"
        signatures = serving.SignatureDefMap.FromString(packed.value).signature_def
        assert set(signatures) == {"serving_default", "two", "classify", "regress", "strs", "__saved_model_init_op"}
        x = signatures["serving_default"].inputs["x"]
        assert (x.name, x.dtype) == ("serving_default_x:0", tensors.DT_FLOAT)
        assert [dim.size for dim in x.tensor_shape.dim] == [-1, 4]
        assert set(signatures["serving_default"].outputs) == {"logits", "probs", "cls"}
        assert signatures["serving_default"].method_name == "tensorflow/serving/predict"
        nothing = signatures["__saved_model_init_op"].outputs["__saved_model_init_op"]
        assert (nothing.name, nothing.tensor_shape.unknown_rank) == ("NoOp", True)

    return check


def available(*versions: int) -> Reply:
    """These versions, newest first, each AVAILABLE with a status that is present and empty."""

    def check(reply: bytes) -> None:
        found = serving.GetModelStatusResponse.FromString(reply).model_version_status
        assert [one.version for one in found] == list(versions)
        assert all(one.state == serving.ModelVersionStatus.AVAILABLE for one in found)
        assert all(one.HasField("status") and one.status.ByteSize() == 0 for one in found)

    return check


def _same_spec(found: serving.ModelSpec, name: str, version: int, signature: str) -> None:
    assert (found.name, found.signature_name) == (name, signature)
    assert found.WhichOneof("version_choice") == "version"
    assert found.version.value == version


def _same_tensors(found: MessageMap[str, TensorProto], expected: dict[str, Array], in_content: bool) -> None:
    assert sorted(found) == sorted(expected)
    for output, values in expected.items():
        proto = found[output]
        assert proto.dtype == _DTYPES[values.dtype.kind]
        assert [dim.size for dim in proto.tensor_shape.dim] == list(values.shape)
        assert proto.version_number == 0
        filled = {field.name for field, _ in proto.ListFields()} - {"dtype", "tensor_shape"}
        if in_content:
            assert filled == {"tensor_content"}
            continue
        field = _FIELDS[proto.dtype]
        assert filled == ({field} if values.size else set())
        if values.dtype.kind == "f":
            np.testing.assert_allclose(proto.float_val, values.ravel(), rtol=1e-4)
        else:
            assert list(getattr(proto, field)) == values.ravel().tolist()


def _same_classes(found: serving.ClassificationResult, rows: Any) -> None:
    for row, expected in zip(found.classifications, rows, strict=True):
        assert [one.label for one in row.classes] == [label for label, _ in expected]
        np.testing.assert_allclose([one.score for one in row.classes], [score for _, score in expected], rtol=1e-4)
