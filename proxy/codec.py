"""What a request says about itself: model, signature, rows, and the memory that its tensors will claim.

Only bounds are checked here. What TensorFlow Serving refuses by itself (negative or overflowing shapes, short content)
is left to it, so that its own answer, in its own order of checks, reaches the caller.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from google.protobuf.message import DecodeError

from protos import serving_pb2 as serving
from protos import tensor_pb2 as tensor
from protos.example_pb2 import Example

MAX_ELEMENTS = 2**63
"""From here on TensorFlow refuses a shape before it allocates (tensor_shape.cc: MultiplyWithoutOverflow)."""

STRING_BYTES = 24
"""sizeof(tstring), allocated for each element of a string tensor."""

EXAMPLE_BYTES = 128
"""What a tf.Example takes beside its content, about: a message, and the string that it becomes."""

_WIDEST = 16
_ITEM_BYTES = {
    tensor.DT_FLOAT: 4,
    tensor.DT_DOUBLE: 8,
    tensor.DT_INT32: 4,
    tensor.DT_UINT8: 1,
    tensor.DT_INT16: 2,
    tensor.DT_INT8: 1,
    tensor.DT_STRING: STRING_BYTES,
    tensor.DT_COMPLEX64: 8,
    tensor.DT_INT64: 8,
    tensor.DT_BOOL: 1,
    tensor.DT_QINT8: 1,
    tensor.DT_QUINT8: 1,
    tensor.DT_QINT32: 4,
    tensor.DT_BFLOAT16: 2,
    tensor.DT_QINT16: 2,
    tensor.DT_QUINT16: 2,
    tensor.DT_UINT16: 2,
    tensor.DT_HALF: 2,
    tensor.DT_UINT32: 4,
    tensor.DT_UINT64: 8,
    tensor.DT_VARIANT: 64,
    tensor.DT_RESOURCE: 128,
}


@dataclass(frozen=True, slots=True)
class Decoded:
    """A parsed request.

    Attributes:
        message: the parsed protobuf message.
        model: the requested model's name as sent, perhaps empty.
        rows: examples in the request: the largest first dimension of its tensors, or the number of tf.Examples.
        claims: bytes that each input will take in the model server, by input name.
    """

    message: Any
    model: str
    rows: int
    claims: dict[str, int]

    @property
    def claim(self) -> int:
        """Bytes that all inputs together will take in the model server."""
        return sum(self.claims.values())


def decode(path: str, body: bytes) -> Decoded | None:
    """Parses the request of a known method; None if it is not a valid message (the upstream will say so itself)."""
    message_type, describe = _METHODS[path]
    message = message_type()
    try:
        message.ParseFromString(body)
    except DecodeError:
        return None
    return describe(message)


def claimed_bytes(proto: tensor.TensorProto) -> int:
    """Memory that TensorFlow allocates for a TensorProto, values repeated to fill its shape included (tensor.cc).

    0 for a shape that TensorFlow refuses before allocating.
    """
    elements = 1
    for dim in proto.tensor_shape.dim:
        if dim.size < 0:
            return 0
        elements *= dim.size
        if elements >= MAX_ELEMENTS:
            return 0
    claimed = elements * _ITEM_BYTES.get(proto.dtype, _WIDEST)
    if proto.dtype == tensor.DT_STRING and proto.string_val:
        strings = proto.string_val
        claimed += sum(map(len, strings)) + max(0, elements - len(strings)) * len(strings[-1])
    for variant in proto.variant_val:
        claimed += sum(map(claimed_bytes, variant.tensors))
    return claimed


def _rows(tensors: Iterable[tensor.TensorProto]) -> int:
    sizes = [proto.tensor_shape.dim[0].size if proto.tensor_shape.dim else 1 for proto in tensors]
    return max(0, *sizes) if sizes else 0


def _predict(message: serving.PredictRequest) -> Decoded:
    inputs = message.inputs
    claims = {name: claimed_bytes(inputs[name]) for name in inputs}
    return Decoded(message, message.model_spec.name, _rows(inputs.values()), claims)


def example_input(message: Any) -> Any:
    """The list of tf.Examples that a request of Classify, Regress or MultiInference carries; None if there is none.

    It has `examples` and, in one of its two forms, a `context` shared by all of them.
    """
    kind = message.input.WhichOneof("kind") if hasattr(message, "input") else None
    return None if kind is None else getattr(message.input, kind)


def _examples(message: Any, model: str) -> Decoded:
    """Classify, Regress and MultiInference. A shared context is copied into every example (servables/util.cc)."""
    held = example_input(message)
    if held is None:
        return Decoded(message, model, 0, {})
    context: Example | None = getattr(held, "context", None)
    claim = len(held.examples) * (EXAMPLE_BYTES + (0 if context is None else context.ByteSize()))
    return Decoded(message, model, len(held.examples), {"input": claim})


def _named(message: Any) -> Decoded:
    return _examples(message, message.model_spec.name)


def _multi(message: serving.MultiInferenceRequest) -> Decoded:
    return _examples(message, message.tasks[0].model_spec.name if message.tasks else "")


def _about(message: Any) -> Decoded:
    return Decoded(message, message.model_spec.name, 0, {})


_PREDICTION = "/tensorflow.serving.PredictionService/"
_METHODS: dict[str, tuple[Callable[[], Any], Callable[[Any], Decoded]]] = {
    _PREDICTION + "Predict": (serving.PredictRequest, _predict),
    _PREDICTION + "Classify": (serving.ClassificationRequest, _named),
    _PREDICTION + "Regress": (serving.RegressionRequest, _named),
    _PREDICTION + "MultiInference": (serving.MultiInferenceRequest, _multi),
    _PREDICTION + "GetModelMetadata": (serving.GetModelMetadataRequest, _about),
    "/tensorflow.serving.ModelService/GetModelStatus": (serving.GetModelStatusRequest, _about),
}
PREDICT = _PREDICTION + "Predict"
METHODS = frozenset(_METHODS)
"""The methods that every deployment serves, by full name."""

INFERENCE = frozenset(_PREDICTION + name for name in ("Predict", "Classify", "Regress", "MultiInference"))
"""Those that ask a model about rows."""
