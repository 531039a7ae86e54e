"""What a model takes and gives, learned from the upstream's GetModelMetadata, so that nobody has to type shapes."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass

import grpc
from google.protobuf.message import DecodeError

from protos import serving_pb2 as serving
from protos.signature_pb2 import TensorInfo
from protos.tensor_pb2 import DT_STRING
from proxy.logs import event
from proxy.upstream import Reply

log = logging.getLogger("tensorwall.signatures")

GET_MODEL_METADATA = "/tensorflow.serving.PredictionService/GetModelMetadata"
DEFAULT = "serving_default"
INTERVAL = 30.0
INTERVAL_UNKNOWN = 0.5
"""Seconds between questions while a model's signatures are not known."""
TIMEOUT = 5.0


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """One tensor of a signature.

    Attributes:
        dtype: TensorFlow's DataType number.
        shape: sizes, None for a free one; None altogether for an unknown rank.
    """

    dtype: int
    shape: tuple[int | None, ...] | None

    def admits(self, shape: tuple[int, ...]) -> bool:
        """Whether a tensor of this shape fits."""
        if self.shape is None:
            return True
        pairs = zip(self.shape, shape, strict=False)
        return len(self.shape) == len(shape) and all(want in (None, size) for want, size in pairs)


@dataclass(frozen=True, slots=True)
class Signature:
    """One signature of a model: its tensors by alias and its method name (tensorflow/serving/predict and others)."""

    inputs: Mapping[str, TensorSpec]
    outputs: Mapping[str, TensorSpec]
    method: str

    @property
    def takes_examples(self) -> bool:
        """Whether it may parse tf.Examples: nothing but one list of strings goes in."""
        return [(spec.dtype, spec.shape) for spec in self.inputs.values()] == [(DT_STRING, (None,))]


Signatures = Mapping[str, Signature]


class SignatureTable:
    """The signatures of each watched model's newest version.

    Args:
        models: names to ask for.
        ask: sends (path, body, seconds) to the upstream.
        changed: told of a model whose signatures have become known or have changed.
    """

    def __init__(
        self,
        models: Iterable[str],
        ask: Callable[[str, bytes, float], Awaitable[Reply]],
        changed: Callable[[str, Signatures], None],
    ) -> None:
        self._models = tuple(models)
        self._ask = ask
        self._changed = changed
        self._known: dict[str, Signatures] = {}

    def of(self, model: str) -> Signatures:
        """By name; empty as long as they are not known."""
        return self._known.get(model, {})

    async def run(self) -> None:
        """Asks until cancelled."""
        while self._models:
            for model in self._models:
                await self._refresh(model)
            await asyncio.sleep(INTERVAL if len(self._known) == len(self._models) else INTERVAL_UNKNOWN)

    async def _refresh(self, model: str) -> None:
        reply = await self._ask(GET_MODEL_METADATA, metadata_request(model), TIMEOUT)
        if reply.code is not grpc.StatusCode.OK:
            return
        try:
            found = signatures(reply.body)
        except ValueError as error:
            event(log, logging.WARNING, "signatures unreadable", model=model, problem=str(error))
            return
        if self._known.get(model) != found:
            self._known[model] = found
            self._changed(model, found)


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
