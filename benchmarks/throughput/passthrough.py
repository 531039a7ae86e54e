"""The least that a gRPC proxy in Python can be: grpc.aio on both sides, one method, bytes in and bytes out.

    python -m benchmarks.throughput.passthrough UPSTREAM PORT

serves on the loopback interface until it is ended.
"""

import asyncio
import sys

import grpc
import grpc.aio

from benchmarks.throughput.framing import PREDICT


class PassThrough(grpc.GenericRpcHandler):
    """Hands every request to the upstream and its answer back."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._predict = channel.unary_unary(PREDICT)
        self._handler = grpc.unary_unary_rpc_method_handler(self._pass)

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler | None:
        """See grpc."""
        return self._handler if details.method == PREDICT else None

    async def _pass(self, body: bytes, context: grpc.aio.ServicerContext) -> bytes:
        return await self._predict(body, timeout=context.time_remaining())


async def _serve(upstream: str, port: str) -> None:
    limits = [("grpc.max_receive_message_length", 2**26)]
    async with grpc.aio.insecure_channel(upstream, options=limits) as channel:
        server = grpc.aio.server(options=limits)
        server.add_generic_rpc_handlers((PassThrough(channel),))
        server.add_insecure_port(f"127.0.0.1:{port}")
        await server.start()
        await server.wait_for_termination()


if __name__ == "__main__":
    asyncio.run(_serve(sys.argv[1], sys.argv[2]))
