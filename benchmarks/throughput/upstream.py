"""What stands in for the model server: a stub, with the replies that fit a payload."""

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path

from benchmarks.throughput.framing import framed
from benchmarks.throughput.payloads import Payload
from benchmarks.throughput.processes import child
from protos import serving_pb2 as serving
from protos import signature_pb2 as signature
from protos import tensor_pb2 as tensor


@contextlib.contextmanager
def standing_in(folder: Path, payload: Payload) -> Iterator[str]:
    """The address of an upstream that answers Predict, and what a proxy asks of its own."""
    for name, message in _replies(payload).items():
        (folder / name).write_bytes(message)
    with child([sys.executable, "-m", "benchmarks.throughput.stub", str(folder)], folder / "upstream.log") as (port, _):
        yield f"127.0.0.1:{port}"


def _replies(payload: Payload) -> dict[str, bytes]:
    status = serving.ModelVersionStatus(version=1, state=serving.ModelVersionStatus.AVAILABLE)
    return {
        "predict": b"".join(map(framed, (payload.reply, *payload.others))),
        "status": serving.GetModelStatusResponse(model_version_status=[status]).SerializeToString(),
        "metadata": _metadata(payload),
    }


def _metadata(payload: Payload) -> bytes:
    asked = serving.PredictRequest.FromString(payload.requests[0]).inputs["x"]
    definition = signature.SignatureDef(method_name="tensorflow/serving/predict")
    _free_rows(definition.inputs["x"], asked.dtype, [dim.size for dim in asked.tensor_shape.dim[1:]])
    _free_rows(definition.outputs["probabilities"], tensor.DT_FLOAT, [10])
    found = serving.SignatureDefMap(signature_def={"serving_default": definition})
    reply = serving.GetModelMetadataResponse(model_spec=serving.ModelSpec(name=payload.name))
    reply.metadata["signature_def"].Pack(found)
    return reply.SerializeToString()


def _free_rows(info: signature.TensorInfo, dtype: tensor.DataType, row: list[int]) -> None:
    info.dtype = dtype
    for size in (-1, *row):
        info.tensor_shape.dim.add(size=size)
