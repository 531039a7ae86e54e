"""What a model takes and gives, learned from the upstream's GetModelMetadata, so that nobody has to type shapes."""

from collections.abc import Mapping
from dataclasses import dataclass

from google.protobuf.message import DecodeError

from protos import serving_pb2 as serving
from protos.signature_pb2 import TensorInfo

GET_MODEL_METADATA = "/tensorflow.serving.PredictionService/GetModelMetadata"
DEFAULT = "serving_default"


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """One tensor of a signature.

    Attributes:
        dtype: TensorFlow's DataType number.
        shape: sizes, None for a free one; None altogether for an unknown rank.
    """

    dtype: int
    shape: tuple[int | None, ...] | None


@dataclass(frozen=True, slots=True)
class Signature:
    """One signature of a model: its tensors by alias and its method name (tensorflow/serving/predict and others)."""

    inputs: Mapping[str, TensorSpec]
    outputs: Mapping[str, TensorSpec]
    method: str


def metadata_request(model: str) -> bytes:
    """The request that asks for a model's signatures, newest version."""
    spec = serving.ModelSpec(name=model)
    return serving.GetModelMetadataRequest(model_spec=spec, metadata_field=["signature_def"]).SerializeToString()


def signatures(reply: bytes) -> dict[str, Signature]:
    """The signatures in a GetModelMetadata reply, by name.

    Raises:
        ValueError: it is no such reply.
    """
    try:
        response = serving.GetModelMetadataResponse.FromString(reply)
        found = serving.SignatureDefMap.FromString(response.metadata["signature_def"].value)
    except DecodeError:
        raise ValueError("the model server's metadata cannot be read") from None
    return {
        name: Signature(
            {alias: _spec(info) for alias, info in definition.inputs.items()},
            {alias: _spec(info) for alias, info in definition.outputs.items()},
            definition.method_name,
        )
        for name, definition in found.signature_def.items()
    }


def _spec(info: TensorInfo) -> TensorSpec:
    if info.tensor_shape.unknown_rank:
        return TensorSpec(info.dtype, None)
    return TensorSpec(info.dtype, tuple(dim.size if dim.size >= 0 else None for dim in info.tensor_shape.dim))
