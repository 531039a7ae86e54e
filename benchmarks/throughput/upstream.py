"""The model server that does next to nothing, so that the proxy is what limits: nghttpd, serving files.

A gRPC reply is an HTTP/2 body of five bytes and the message, and a trailer. nghttpd (C, of the nghttp2 project) answers
a path with a file once it has read the whole request, and adds the trailer. So a fixed reply costs it about as little
as anything can.
"""

import contextlib
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from benchmarks.throughput.framing import PREDICT, framed
from benchmarks.throughput.payloads import Payload
from benchmarks.throughput.processes import free_port, until_listening
from protos import serving_pb2 as serving
from protos import signature_pb2 as signature
from protos import tensor_pb2 as tensor


@contextlib.contextmanager
def serving_files(folder: Path, payload: Payload) -> Iterator[str]:
    """The address of an upstream that answers Predict, and what a proxy asks of its own."""
    program = shutil.which("nghttpd", path="/usr/sbin:/usr/bin:/usr/local/bin")
    if program is None:
        raise FileNotFoundError("nghttpd is needed: apt-get install nghttp2-server")
    root = folder / "upstream"
    for path, message in _replies(payload).items():
        file = root / path.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(framed(message))
    port = free_port()
    command = [program, "--no-tls", "-a", "127.0.0.1", "-d", str(root), "--trailer", "grpc-status: 0"]
    windows = ["-w", "24", "-W", "24", "-m", "1000"]
    with subprocess.Popen([*command, *windows, str(port)], stdout=subprocess.DEVNULL) as process:
        try:
            until_listening(port, process)
            yield f"127.0.0.1:{port}"
        finally:
            process.terminate()


def _replies(payload: Payload) -> dict[str, bytes]:
    status = serving.ModelVersionStatus(version=1, state=serving.ModelVersionStatus.AVAILABLE)
    return {
        PREDICT: payload.reply,
        "/tensorflow.serving.ModelService/GetModelStatus": serving.GetModelStatusResponse(
            model_version_status=[status]
        ).SerializeToString(),
        "/tensorflow.serving.PredictionService/GetModelMetadata": _metadata(payload),
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


def _free_rows(info: signature.TensorInfo, dtype: int, row: list[int]) -> None:
    info.dtype = dtype
    for size in (-1, *row):
        info.tensor_shape.dim.add(size=size)
