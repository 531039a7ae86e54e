"""Balancing, retries, deadlines and cancellation, over real sockets."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable

import grpc
import grpc.aio
import pytest

from protos import serving_pb2 as serving
from proxy.config.schema import Upstream
from proxy.readiness import Readiness, ReadinessWatch
from proxy.upstream import UNREACHABLE, Reply, RetryBudget, UpstreamPool

PATH = "/test.Service/Method"
Behaviour = Callable[[bytes, grpc.aio.ServicerContext], Awaitable[bytes]]


class Server:
    """A model server that does what the test says."""

    def __init__(self, behaviour: Behaviour) -> None:
        self.behaviour = behaviour
        self.calls = 0
        self.port = 0

    async def start(self) -> "Server":
        self._server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
        self._server.add_generic_rpc_handlers((_Every(self._answer),))
        self.port = self._server.add_insecure_port(f"127.0.0.1:{self.port}")
        await self._server.start()
        return self

    async def stop(self, grace: float | None = None) -> None:
        await self._server.stop(grace)

    async def _answer(self, body: bytes, context: grpc.aio.ServicerContext) -> bytes:
        self.calls += 1
        return await self.behaviour(body, context)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"


class _Every(grpc.GenericRpcHandler):
    def __init__(self, answer: Behaviour) -> None:
        self._handler = grpc.unary_unary_rpc_method_handler(answer)

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        return self._handler


async def echo(body: bytes, context: grpc.aio.ServicerContext) -> bytes:
    return body


async def busy(body: bytes, context: grpc.aio.ServicerContext) -> bytes:
    await context.abort(grpc.StatusCode.UNAVAILABLE, "the batching queue is full")
    return b""


async def never(body: bytes, context: grpc.aio.ServicerContext) -> bytes:
    await asyncio.Event().wait()
    return b""


def pool(*servers: Server | str, **retry: object) -> UpstreamPool:
    targets = [server if isinstance(server, str) else server.address for server in servers]
    config = Upstream.model_validate({"targets": targets, "retry": retry})
    return UpstreamPool(config, 2**20, None, clock=time.monotonic, rng=random.Random(1), retried=outcomes.append)


outcomes: list[str] = []
CLOSED_PORT = "127.0.0.1:1"


@pytest.fixture(autouse=True)
def _no_outcomes() -> None:
    outcomes.clear()


async def call(upstream: UpstreamPool, body: bytes = b"x", seconds: float = 5) -> Reply:
    return await upstream.unary(PATH, body, (), time.monotonic() + seconds)


async def test_an_answer_of_the_server_is_never_retried() -> None:
    server = await Server(busy).start()
    upstream = pool(server)
    reply = await call(upstream)
    assert (reply.code, reply.details) == (grpc.StatusCode.UNAVAILABLE, "the batching queue is full")
    assert server.calls == 1
    assert outcomes == []
    await upstream.close()
    await server.stop()


async def test_a_dead_target_is_stepped_over() -> None:
    server = await Server(echo).start()
    upstream = pool(CLOSED_PORT, server)
    replies = [await call(upstream, bytes([n])) for n in range(20)]
    assert [reply.body for reply in replies] == [bytes([n]) for n in range(20)]
    await upstream.close()
    await server.stop()


async def test_nobody_there_is_unavailable_and_names_no_address() -> None:
    upstream = pool(CLOSED_PORT, backoff=0.001)
    reply = await call(upstream)
    assert (reply.code, reply.details) == (grpc.StatusCode.UNAVAILABLE, UNREACHABLE)
    assert outcomes == ["retried", "retried"]
    await upstream.close()


async def test_retries_end_with_their_budget() -> None:
    upstream = pool(CLOSED_PORT, backoff=0.001, budget=4)
    for _ in range(5):
        await call(upstream)
    assert outcomes.count("retried") == 1
    assert outcomes[-1] == "budget_exhausted"
    await upstream.close()


async def test_a_server_that_comes_back_is_found_again() -> None:
    server = await Server(echo).start()
    upstream = pool(server, backoff=0.001)
    assert (await call(upstream)).code is grpc.StatusCode.OK
    await server.stop()
    assert (await call(upstream)).code is grpc.StatusCode.UNAVAILABLE
    await server.start()
    deadline = time.monotonic() + 10
    while (reply := await call(upstream)).code is not grpc.StatusCode.OK:
        assert time.monotonic() < deadline
        assert reply.details == UNREACHABLE
        await asyncio.sleep(0.02)
    await upstream.close()
    await server.stop()


async def test_no_call_outlasts_its_deadline() -> None:
    server = await Server(never).start()
    upstream = pool(server)
    started = time.monotonic()
    reply = await call(upstream, seconds=0.2)
    assert reply.code is grpc.StatusCode.DEADLINE_EXCEEDED
    assert time.monotonic() - started < 2
    await upstream.close()
    await server.stop()


async def test_cancelling_reaches_the_server() -> None:
    begun, cancelled = asyncio.Event(), asyncio.Event()

    async def watch(body: bytes, context: grpc.aio.ServicerContext) -> bytes:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()
        return b""

    server = await Server(watch).start()
    upstream = pool(server)
    task = asyncio.create_task(call(upstream))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.wait_for(cancelled.wait(), 5)
    await asyncio.wait_for(upstream.idle(), 5)
    await upstream.close()
    await server.stop()


async def test_calls_go_where_the_fewest_are_in_flight() -> None:
    slow, quick = await Server(never).start(), await Server(echo).start()
    upstream = pool(slow, quick)
    await asyncio.gather(*(target.channel.channel_ready() for target in upstream.targets))
    stuck = [asyncio.create_task(call(upstream)) for _ in range(2)]
    await asyncio.sleep(0)
    replies = [await call(upstream) for _ in range(10)]
    assert all(reply.code is grpc.StatusCode.OK for reply in replies)
    for task in stuck:
        task.cancel()
    await asyncio.gather(*stuck, return_exceptions=True)
    await upstream.close()
    await slow.stop()
    await quick.stop()


def test_the_budget_is_won_back_by_successes() -> None:
    budget = RetryBudget(10, 0.1, 10)
    for _ in range(5):
        budget.failed()
    assert not budget.allows()
    for _ in range(11):
        budget.succeeded()
    assert budget.allows()


def _status(states: dict[str, list[serving.ModelVersionStatus.State]]) -> Behaviour:
    async def answer(body: bytes, context: grpc.aio.ServicerContext) -> bytes:
        name = serving.GetModelStatusRequest.FromString(body).model_spec.name
        if not name:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "Missing ModelSpec")
        if name not in states:
            await context.abort(grpc.StatusCode.NOT_FOUND, f"Could not find any versions of model {name}")
        statuses = [serving.ModelVersionStatus(version=1, state=state) for state in states[name]]
        return serving.GetModelStatusResponse(model_version_status=statuses).SerializeToString()

    return answer


class Watched:
    def __init__(self, upstream: UpstreamPool, *models: str) -> None:
        self.changes: list[Readiness] = []
        self.up: dict[str, bool] = {}
        self.watch = ReadinessWatch(upstream, models, self.changes.append, self.up.__setitem__)


async def test_ready_once_every_configured_model_is_available() -> None:
    states = {"a": [serving.ModelVersionStatus.AVAILABLE], "b": [serving.ModelVersionStatus.LOADING]}
    server = await Server(_status(states)).start()
    upstream = pool(server)
    watched = Watched(upstream, "a", "b", "c")
    readiness = await watched.watch.probe()
    assert readiness.reasons == ("model 'b' has no available version", "model 'c' has no available version")
    states["b"] = states["c"] = [serving.ModelVersionStatus.END, serving.ModelVersionStatus.AVAILABLE]
    assert (await watched.watch.probe()).ready
    await server.stop()
    assert not (await watched.watch.probe()).ready
    assert watched.up == {server.address: False}
    assert [change.ready for change in watched.changes] == [False, True, False]
    await upstream.close()


async def test_with_no_model_configured_any_answer_will_do() -> None:
    server = await Server(_status({})).start()
    upstream = pool(server, CLOSED_PORT)
    watched = Watched(upstream)
    assert (await watched.watch.probe()).ready
    assert watched.up == {server.address: True, CLOSED_PORT: False}
    await upstream.close()
    await server.stop()


async def test_a_busy_server_is_not_taken_for_a_dead_one() -> None:
    server = await Server(_status({"a": [serving.ModelVersionStatus.AVAILABLE]})).start()
    upstream = pool(server)
    watched = Watched(upstream, "a")
    assert (await watched.watch.probe()).ready

    async def exhausted(body: bytes, context: grpc.aio.ServicerContext) -> bytes:
        await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "Server Threadpool Exhausted")
        return b""

    server.behaviour = exhausted
    assert [(await watched.watch.probe()).ready for _ in range(3)] == [True, True, False]
    assert server.calls == 4
    await upstream.close()
    await server.stop()
