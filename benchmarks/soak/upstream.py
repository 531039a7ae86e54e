"""A model server that does next to nothing, so that the proxy is what limits: any request is answered at once.

    python -m benchmarks.soak.upstream

prints its port and serves until it is ended.
"""

import asyncio
import contextlib
import itertools
import subprocess
import sys
from collections.abc import Iterator

import grpc
import grpc.aio
import numpy as np

from benchmarks.detection_cost.traffic import reply
from protos import serving_pb2 as serving

VARIANTS = 64


@contextlib.contextmanager
def upstream() -> Iterator[str]:
    """One in a process of its own; its address."""
    command = [sys.executable, "-m", "benchmarks.soak.upstream"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield f"127.0.0.1:{int(process.stdout.readline())}"
        finally:
            process.terminate()


class Fixed(grpc.GenericRpcHandler):
    """Probabilities for each row of the request's first input, and AVAILABLE for whatever model."""

    def __init__(self) -> None:
        self._made: dict[tuple[str, int], itertools.cycle[bytes]] = {}

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler | None:
        """See grpc."""
        answer = {"Predict": self._predict, "GetModelStatus": self._status}.get(details.method.rpartition("/")[2])
        return None if answer is None else grpc.unary_unary_rpc_method_handler(answer)

    async def _predict(self, body: bytes, _: grpc.aio.ServicerContext) -> bytes:
        request = serving.PredictRequest.FromString(body)
        key = request.model_spec.name, request.inputs["x"].tensor_shape.dim[0].size
        if key not in self._made:
            rng = np.random.default_rng(0)
            self._made[key] = itertools.cycle([reply(*key, rng) for _ in range(VARIANTS)])
        return next(self._made[key])

    async def _status(self, _: bytes, __: grpc.aio.ServicerContext) -> bytes:
        status = serving.ModelVersionStatus(version=1, state=serving.ModelVersionStatus.AVAILABLE)
        return serving.GetModelStatusResponse(model_version_status=[status]).SerializeToString()


async def _serve() -> None:
    server = grpc.aio.server(options=[("grpc.max_receive_message_length", 2**26)])
    server.add_generic_rpc_handlers((Fixed(),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(port, flush=True)
    await server.wait_for_termination()


if __name__ == "__main__":
    asyncio.run(_serve())
