"""Calls as inputs: the method's name in the first line, then the request; good ones to begin with, and what a model
server says to any.
"""

from collections.abc import Sequence
from hashlib import blake2b
from typing import Any

import grpc
import numpy as np
from google.protobuf.any_pb2 import Any as Packed
from google.protobuf.message import Message

from protos import serving_pb2 as serving
from protos import tensor_pb2 as tensor
from protos.example_pb2 import Example
from protos.signature_pb2 import SignatureDef, TensorInfo
from proxy.codec import METHODS, decode
from proxy.tensors import set_array, to_array
from proxy.upstream import Reply
from tests.fuzz.target import Plain

CLASSES = 4
SHAPE = (6, 6, 1)
UPSTREAM = "upstream: "
"""How every text of the model server begins."""
_MAX_ROWS = 256
_PREDICTION = "/tensorflow.serving.PredictionService/"
_STATUS = "/tensorflow.serving.ModelService/GetModelStatus"
FORMS: dict[str, type[Message]] = {
    "Predict": serving.PredictRequest,
    "Classify": serving.ClassificationRequest,
    "Regress": serving.RegressionRequest,
    "MultiInference": serving.MultiInferenceRequest,
    "GetModelMetadata": serving.GetModelMetadataRequest,
    "GetModelStatus": serving.GetModelStatusRequest,
}
TOKENS = (
    *(b"image", b"photo", b"text", b"table", b"denoised", b"known", b"free", b"serving_default", b"tensorflow"),
    *(name.encode() + b"\n" for name in FORMS),
)


class Calls(Plain):
    """What targets have in common that read calls."""

    tokens: Sequence[bytes] = TOKENS

    def seeds(self) -> Sequence[bytes]:
        """Good calls of each method."""
        return [f"{type_name}\n".encode() + message.SerializeToString() for type_name, message in _good()]

    def message(self, data: bytes) -> tuple[slice, type[Message]] | None:
        """The request after the first line."""
        name, line, _ = data.partition(b"\n")
        form = FORMS.get(name.decode("latin-1"))
        return None if form is None or not line else (slice(len(name) + 1, len(data)), form)


def parted(data: bytes) -> tuple[str, bytes]:
    """Full method name and request. A call of an unknown method is taken for Predict."""
    name, line, body = data.partition(b"\n")
    text = name.decode("latin-1")
    path = _STATUS if text == "GetModelStatus" else _PREDICTION + text
    return (path, body) if line and path in METHODS else (_PREDICTION + "Predict", data)


def _good() -> list[tuple[str, Any]]:
    rng = np.random.default_rng(0)
    image = rng.random((3, *SHAPE), dtype=np.float32)
    strings = np.array([b"a text", "zo\u00eb".encode(), b"<b>"], dtype=object)
    table = rng.normal(size=(3, 5))
    classify = serving.ClassificationRequest()
    regress = serving.RegressionRequest()
    multi = serving.MultiInferenceRequest()
    multi.tasks.add(method_name="tensorflow/serving/classify").model_spec.name = "free"
    multi.tasks.add(method_name="tensorflow/serving/regress").model_spec.name = "free"
    shared = regress.input.example_list_with_context
    shared.context.CopyFrom(_example(table=table[0], text=[b"shared"]))
    for request in (classify, regress):
        request.model_spec.name = "free"
    for held in (classify.input.example_list, shared, multi.input.example_list):
        held.examples.extend([_example(image=image[at].ravel(), text=[strings[at]]) for at in range(3)])
    packed = np.array([_example(image=row.ravel()).SerializeToString() for row in image], dtype=object)
    metadata = serving.GetModelMetadataRequest(metadata_field=["signature_def"])
    metadata.model_spec.name = "known"
    bomb = serving.PredictRequest(model_spec=serving.ModelSpec(name="free"))
    bomb.inputs["image"].CopyFrom(tensor.TensorProto(dtype=tensor.DT_FLOAT, float_val=[1.0]))
    bomb.inputs["image"].tensor_shape.dim.add(size=10**8)
    return [
        ("Predict", _predict("known", image=image)),
        ("Predict", _predict("free", content=False, image=image, text=strings, table=table)),
        ("Predict", _predict("free", image=(image * 255).astype(np.uint8), photo=np.array([png()] * 3, dtype=object))),
        ("Predict", _predict("free", denoised=image.astype(np.float16), table=table.astype(np.int64))),
        ("Predict", _predict("free", examples=packed)),
        ("Predict", _predict("", text=strings)),
        ("Predict", bomb),
        ("Classify", classify),
        ("Regress", regress),
        ("MultiInference", multi),
        ("GetModelMetadata", metadata),
        ("GetModelStatus", serving.GetModelStatusRequest(model_spec=serving.ModelSpec(name="free"))),
    ]


def searched(rng: np.random.Generator) -> serving.PredictRequest:
    """Steps of a search around the first image of the good calls."""
    start = to_array(_good()[0][1].inputs["image"])[0]
    steps = start + rng.normal(0, 0.02, (16, *SHAPE)).astype(np.float32)
    return _predict("free", image=steps.clip(0, 1))


def png() -> bytes:
    """A small image."""
    import io

    from PIL import Image

    held = io.BytesIO()
    Image.fromarray(np.zeros((4, 5, 3), np.uint8)).save(held, "png")
    return held.getvalue()


def _predict(model: str, content: bool = True, **inputs: Any) -> serving.PredictRequest:
    request = serving.PredictRequest(model_spec=serving.ModelSpec(name=model))
    for name, values in inputs.items():
        _fill(request.inputs[name], values, content)
    return request


_TYPES = {
    "float32": tensor.DT_FLOAT,
    "float64": tensor.DT_DOUBLE,
    "float16": tensor.DT_HALF,
    "uint8": tensor.DT_UINT8,
    "int64": tensor.DT_INT64,
    "object": tensor.DT_STRING,
}


def _fill(proto: tensor.TensorProto, values: Any, content: bool) -> None:
    proto.dtype = _TYPES[values.dtype.name]
    if content:
        proto.tensor_content = b"\0"
    set_array(proto, values)


def _example(**features: Any) -> Example:
    made = Example()
    for name, values in features.items():
        held = made.features.feature[name]
        (held.bytes_list if isinstance(values[0], bytes) else held.float_list).value.extend(values)
    return made


def answer(path: str, body: bytes) -> Reply:
    """What the model server says: mostly a good answer, row by row; a part of all requests gets another one."""
    method = path.rpartition("/")[2]
    if method == "GetModelStatus":
        state = serving.ModelVersionStatus(version=1, state=serving.ModelVersionStatus.AVAILABLE)
        return _ok(serving.GetModelStatusResponse(model_version_status=[state]))
    decoded = decode(path, body)
    if method == "GetModelMetadata":
        known = decoded is not None and decoded.model == "known"
        return _ok(_metadata()) if known else Reply(grpc.StatusCode.NOT_FOUND, UPSTREAM + "no such model")
    return answer_of_rows(path, body, None if decoded is None else decoded.rows)


def answer_of_rows(path: str, body: bytes, rows: int | None) -> Reply:
    """The same for an inference request of so many rows, without parsing it; None if it cannot be parsed."""
    kind = blake2b(body, digest_size=1).digest()[0]
    if rows is None or kind < 8:
        return Reply(grpc.StatusCode.INVALID_ARGUMENT, UPSTREAM + "no")
    if kind < 16:
        return Reply((grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN)[kind % 2], UPSTREAM + "broken")
    if kind < 24:
        return Reply(grpc.StatusCode.OK, body=body[: kind % 4 + 8])
    rows = min(rows, _MAX_ROWS) + (kind < 32)
    values = np.random.default_rng(kind).dirichlet(np.ones(CLASSES), rows).astype(np.float32)
    if kind < 40:
        values[: rows // 2 + 1] = (np.nan, np.inf, -1.0, 7.0)
    return _ok(_rows(path.rpartition("/")[2], values))


def _ok(message: Message) -> Reply:
    return Reply(grpc.StatusCode.OK, body=message.SerializeToString())


def _rows(method: str, values: Any) -> Message:
    if method == "Predict":
        reply = serving.PredictResponse(model_spec=serving.ModelSpec(name="m"))
        reply.model_spec.version.value = 1
        _fill(reply.outputs["probabilities"], values, content=True)
        _fill(reply.outputs["logits"], values.astype(np.float64), content=False)
        _fill(reply.outputs["label"], values.argmax(axis=1), content=False)
        _fill(reply.outputs["clean"], np.zeros((len(values), *SHAPE), np.float32), content=True)
        return reply
    classification, regression = serving.ClassificationResult(), serving.RegressionResult()
    for row in values.tolist():
        held = classification.classifications.add()
        for at, score in enumerate(row):
            held.classes.add(label=str(at), score=score)
        regression.regressions.add(value=row[0])
    if method == "Classify":
        return serving.ClassificationResponse(result=classification)
    if method == "Regress":
        return serving.RegressionResponse(result=regression)
    results = [serving.InferenceResult(classification_result=classification)]
    return serving.MultiInferenceResponse(results=[*results, serving.InferenceResult(regression_result=regression)])


def _metadata() -> serving.GetModelMetadataResponse:
    image = TensorInfo(name="x", dtype=tensor.DT_FLOAT)
    for size in (-1, *SHAPE):
        image.tensor_shape.dim.add(size=size)
    definition = SignatureDef(inputs={"image": image}, method_name="tensorflow/serving/predict")
    packed = Packed()
    packed.Pack(serving.SignatureDefMap(signature_def={"serving_default": definition}))
    return serving.GetModelMetadataResponse(metadata={"signature_def": packed})
