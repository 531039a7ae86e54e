"""A small real model server in the test's own process: answers what the test says, and can be stopped and started."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import grpc

from protos import serving_pb2 as serving

Behaviour = Callable[[bytes, grpc.ServicerContext], bytes]
PREDICT = "/tensorflow.serving.PredictionService/Predict"
STATUS = "/tensorflow.serving.ModelService/GetModelStatus"


def echo(body: bytes, context: grpc.ServicerContext) -> bytes:
    """The reply is the request."""
    return body


class ModelServer:
    """Every model is AVAILABLE; Predict and all else do as the behaviour says. The port stays over a restart."""

    def __init__(self, behaviour: Behaviour = echo) -> None:
        self.behaviour = behaviour
        self.status_behaviour: Behaviour = self.status
        self.calls = 0
        self._port = 0
        self.start()

    @property
    def address(self) -> str:
        """host:port."""
        return f"127.0.0.1:{self._port}"

    def start(self) -> None:
        """Listens (again)."""
        self._server = grpc.server(ThreadPoolExecutor(32), options=[("grpc.so_reuseport", 0)])
        self._server.add_generic_rpc_handlers((_Handler(self),))
        self._port = self._server.add_insecure_port(self.address)
        self._server.start()

    def stop(self) -> None:
        """Ends at once, calls in flight included."""
        self._server.stop(None).wait()

    def answer(self, body: bytes, context: grpc.ServicerContext) -> bytes:
        """One call of any method but GetModelStatus."""
        self.calls += 1
        return self.behaviour(body, context)

    def status(self, body: bytes, context: grpc.ServicerContext) -> bytes:
        """GetModelStatus."""
        available = serving.ModelVersionStatus(version=1, state=serving.ModelVersionStatus.AVAILABLE)
        return serving.GetModelStatusResponse(model_version_status=[available]).SerializeToString()

    def __enter__(self) -> "ModelServer":
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()


class _Handler(grpc.GenericRpcHandler):
    def __init__(self, server: ModelServer) -> None:
        self._answer = grpc.unary_unary_rpc_method_handler(server.answer)
        self._status = grpc.unary_unary_rpc_method_handler(lambda body, context: server.status_behaviour(body, context))

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        return self._status if details.method == STATUS else self._answer
