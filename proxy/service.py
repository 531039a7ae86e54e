"""The gRPC edge: each method to its handler, each call's end to its status, its metadata and its count."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from functools import partial

import grpc
import grpc.aio

from proxy.codec import METHODS
from proxy.errors import Rejection
from proxy.logs import event
from proxy.metrics import Metrics
from proxy.pipeline import Call, Context, Pipeline
from proxy.upstream import Reply, failure, finish

log = logging.getLogger("tensorwall.service")

_OVERLOAD = "the proxy has as many calls in flight as it may have; try again later"
_SHUTDOWN = "the proxy is shutting down; try again"
_BUG = "internal error of the proxy; its log has the cause"


class Service(grpc.GenericRpcHandler):  # type: ignore[misc]  # grpc publishes no types
    """Every method of every service that no other handler has taken.

    Args:
        pipeline: the one in force; asked anew for each call, so that a reload takes effect at once.
        metrics: told of every call's end.
        clock: monotonic seconds, the pipeline's.
        ended: told of every call, of the name of its status code and of the seconds that it took.

    Attributes:
        in_flight: calls that have come and whose callers have not taken all of the reply.
        ending: set once callers know that the server ends. Calls that come in between wait for that and are refused.
    """

    def __init__(
        self,
        pipeline: Callable[[], Pipeline],
        metrics: Metrics,
        clock: Callable[[], float],
        ended: Callable[[Call, str, float], None],
    ) -> None:
        self._pipeline = pipeline
        self._metrics = metrics
        self._clock = clock
        self._ended = ended
        self.in_flight = 0
        self.ending: asyncio.Event | None = None
        metrics.in_flight.set_function(lambda: self.in_flight)
        self._known = {path: grpc.unary_unary_rpc_method_handler(partial(self._unary, path)) for path in METHODS}

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        known = self._known.get(details.method)
        if known is not None:
            return known
        allowed = details.method in self._pipeline().allowed
        return grpc.stream_stream_rpc_method_handler(partial(self._relay if allowed else self._refuse, details.method))

    async def _unary(self, path: str, body: bytes, context: Context) -> bytes:
        call = Call(path, self._clock(), len(body))
        reply = Reply(grpc.StatusCode.CANCELLED)
        self._begin(context)
        try:
            pipeline = self._pipeline()
            if self.ending is not None:
                await self.ending.wait()
            self._admit(pipeline)
            reply = await pipeline.answer(call, body, context)
        except Rejection as rejection:
            reply = self._rejected(call, rejection)
        except Exception:
            reply = _unexpected(path)
        finally:
            self._finished(call, reply)
        return await _send(context, reply)

    async def _relay(self, path: str, requests: AsyncIterator[bytes], context: Context) -> AsyncIterator[bytes]:
        call = Call(path, self._clock())
        reply = Reply(grpc.StatusCode.CANCELLED)
        self._begin(context)
        try:
            pipeline = self._pipeline()
            if self.ending is not None:
                await self.ending.wait()
            self._admit(pipeline)
            stream = await pipeline.open(call, requests, context)
            # A caller that leaves while a message waits to be taken does not wake this generator; the call hears it.
            context.add_done_callback(lambda _: stream.cancel())
            initial = await stream.initial_metadata()
            if initial:
                await context.send_initial_metadata(tuple(initial))
            async for message in stream:
                yield message
            reply = await finish(stream)
        except Rejection as rejection:
            reply = self._rejected(call, rejection)
        except grpc.aio.AioRpcError as error:
            reply = failure(error)
        except Exception:
            reply = _unexpected(path)
        finally:
            self._finished(call, reply)
        await _end(context, reply)

    async def _refuse(self, path: str, requests: AsyncIterator[bytes], context: Context) -> None:
        del requests
        text = f"the method {path[:200]} is not allowed by this proxy"
        reply = self._rejected(
            Call(path, self._clock()), Rejection(grpc.StatusCode.PERMISSION_DENIED, text, reason="method")
        )
        self._finished(Call(path, self._clock()), reply)
        await _end(context, reply)

    def _begin(self, context: Context) -> None:
        """Counts a call until its caller has taken the last of the reply: it is held in memory until then."""
        self.in_flight += 1
        context.add_done_callback(self._left)

    def _left(self, _: Context) -> None:
        self.in_flight -= 1

    def _admit(self, pipeline: Pipeline) -> None:
        if self.ending is not None:
            raise Rejection(grpc.StatusCode.UNAVAILABLE, _SHUTDOWN, reason="shutdown")
        bounds = pipeline.bounds
        if self.in_flight > bounds.calls_in_flight:
            raise Rejection(grpc.StatusCode[bounds.overload_status], _OVERLOAD, reason="overload")

    def _rejected(self, call: Call, rejection: Rejection) -> Reply:
        rows = 0 if rejection.reason == "tensor_budget" else call.rows  # a few bytes may claim any number
        self._metrics.refused(model=call.model, reason=rejection.reason, rows=rows)
        call.refused = True
        call.rows = 0  # what a refused request claims was never asked of the model
        return Reply(rejection.code, rejection.details, trailing=rejection.trailing)

    def _finished(self, call: Call, reply: Reply) -> None:
        seconds = self._clock() - call.started
        self._metrics.finished(
            model=call.model,
            method=call.path,
            code=reply.code.name,
            outcome=call.outcome,
            rows=call.rows,
            request_bytes=call.request_bytes,
            reply_bytes=len(reply.body),
            proxy_seconds=seconds - call.upstream_seconds,
            upstream_seconds=call.upstream_seconds,
        )
        self._ended(call, reply.code.name, seconds)


async def _send(context: Context, reply: Reply) -> bytes:
    if reply.initial:
        await context.send_initial_metadata(reply.initial)
    await _end(context, reply)
    return reply.body


async def _end(context: Context, reply: Reply) -> None:
    """The status and trailing metadata of a call, as they came."""
    if reply.code is not grpc.StatusCode.OK:
        await context.abort(reply.code, reply.details, reply.trailing)
    if reply.details:
        context.set_details(reply.details)
    if reply.trailing:
        context.set_trailing_metadata(reply.trailing)


def _unexpected(path: str) -> Reply:
    """A defect of the proxy: logged with its cause, told to the caller without it."""
    event(log, logging.ERROR, "unexpected error", exc_info=True, method=path)
    return Reply(grpc.StatusCode.INTERNAL, _BUG)
