"""A model server of the test's own: a real gRPC server that answers raw bytes as each test scripts it."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType

import grpc

from tests.calls import Metadata, plain

GET_MODEL_STATUS = "/tensorflow.serving.ModelService/GetModelStatus"
Unary = Callable[[bytes, grpc.ServicerContext], bytes]
Stream = Callable[[Iterator[bytes], grpc.ServicerContext], Iterable[bytes]]


@dataclass(frozen=True)
class Received:
    """A call as it arrived.

    Attributes:
        method: full name.
        metadata: sorted by key.
        seconds_left: until its deadline; infinite if it has none.
        body: the request; empty for streams.
    """

    method: str
    metadata: Metadata
    seconds_left: float
    body: bytes = b""

    def values(self, key: str) -> list[str | bytes]:
        """All values of a metadata key, in order."""
        return [value for name, value in self.metadata if name == key]


class ScriptedUpstream(grpc.GenericRpcHandler):
    """Listens on a free port of the loopback interface while its `with` block lasts.

    A method without a script is UNIMPLEMENTED, but for GetModelStatus, by which a proxy asks whether it may serve.
    """

    def __init__(self) -> None:
        self.calls: list[Received] = []
        self._unary: dict[str, Unary] = {}
        self._streams: dict[str, Stream] = {}
        options = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
        self._server = grpc.server(ThreadPoolExecutor(32), handlers=(self,), options=options)
        self.address = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"

    def answer(self, method: str, script: Unary | bytes) -> None:
        """Scripts a method of one request and one reply: a function, or the reply itself."""
        self._unary[method] = script if callable(script) else lambda body, context: script

    def stream(self, method: str, script: Stream) -> None:
        """Scripts a method of any cardinality."""
        self._streams[method] = script

    def forget(self) -> None:
        """Drops all scripts and what was received."""
        self.calls.clear()
        self._unary.clear()
        self._streams.clear()

    def last(self) -> Received:
        """The call that came last; there must be one."""
        assert self.calls, "nothing has reached the upstream"
        return self.calls[-1]

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler | None:
        method = handler_call_details.method
        if method == GET_MODEL_STATUS and method not in self._unary:
            return grpc.unary_unary_rpc_method_handler(_no_model)
        if method in self._streams:
            return grpc.stream_stream_rpc_method_handler(self._streaming(method, self._streams[method]))
        if method in self._unary:
            return grpc.unary_unary_rpc_method_handler(self._answering(method, self._unary[method]))
        return None

    def _answering(self, method: str, script: Unary) -> Unary:
        def handle(body: bytes, context: grpc.ServicerContext) -> bytes:
            self._record(method, context, body)
            return script(body, context)

        return handle

    def _streaming(self, method: str, script: Stream) -> Stream:
        def handle(requests: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
            self._record(method, context)
            return iter(script(requests, context))

        return handle

    def _record(self, method: str, context: grpc.ServicerContext, body: bytes = b"") -> None:
        metadata = plain(context.invocation_metadata())
        left = context.time_remaining()
        self.calls.append(Received(method, metadata, float("inf") if left is None else left, body))

    def __enter__(self) -> "ScriptedUpstream":
        self._server.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._server.stop(grace=None).wait()


def _no_model(body: bytes, context: grpc.ServicerContext) -> bytes:
    context.abort(grpc.StatusCode.INVALID_ARGUMENT, "Missing ModelSpec")
    raise AssertionError("abort does not return")
