"""The model servers behind the proxy: one channel a target, balanced, retried where that is safe."""

import asyncio
import json
import random
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from functools import partial

import grpc
import grpc.aio
from grpc.aio._call import Call as ConcreteCall

from proxy.config.schema import GRPC_MAX_BYTES, Retry, Upstream
from proxy.errors import Metadata
from proxy.version import VERSION

UNREACHABLE = "the model server is not reachable"
HALF_CLOSE_SECONDS = 0.01
"""How long a relayed call's first message waits for the caller's half-close, which a unary call sends along with it."""
_CONNECTION_ENDED = "Stream removed ("
"""How gRPC begins the details of calls whose connection ended under them."""
_TIME_IS_UP = "Deadline Exceeded"
"""gRPC's own details of a call whose deadline passed."""
EARLY_SECONDS = 0.1
"""A call that gRPC ends at its deadline is not ended earlier than that before it."""
BACKOFF_CAP = 10
"""The longest wait between tries, as a multiple of the first (Envoy's router has the same cap)."""

COMPRESSION = {
    "none": grpc.Compression.NoCompression,
    "gzip": grpc.Compression.Gzip,
    "deflate": grpc.Compression.Deflate,
}


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back for a call, good or bad: the upstream's own status, texts and metadata."""

    code: grpc.StatusCode
    details: str = ""
    body: bytes = b""
    initial: Metadata = ()
    trailing: Metadata = ()


@dataclass(slots=True)
class Target:
    """One upstream address.

    Attributes:
        address: as configured.
        connect: makes a channel to it.
        channel: the one in use.
        in_flight: calls that it has.
        silent: whether its last probe went unanswered; others are preferred then.
        methods: stubs of the channel.
    """

    address: str
    connect: Callable[[], grpc.aio.Channel]
    channel: grpc.aio.Channel
    in_flight: int = 0
    silent: bool = False
    methods: dict[str, grpc.aio.UnaryUnaryMultiCallable[bytes, bytes]] = field(default_factory=dict)

    def connected(self) -> bool:
        """Whether the connection is up; a status that arrives while it is down is gRPC's own, not the server's."""
        return self.channel.get_state() is grpc.ChannelConnectivity.READY

    def method(self, path: str) -> grpc.aio.UnaryUnaryMultiCallable[bytes, bytes]:
        """The stub of a method, bytes in and bytes out. Paths are the known methods, so the cache is small."""
        stub = self.methods.get(path)
        if stub is None:
            stub = self.methods[path] = self.channel.unary_unary(path)
        return stub


@dataclass(slots=True)
class RetryBudget:
    """gRPC's retry throttling (proposal A6): failures cost a token, successes win a part of one back."""

    capacity: float
    refill: float
    tokens: float

    def failed(self) -> None:
        self.tokens = max(0.0, self.tokens - 1)

    def succeeded(self) -> None:
        self.tokens = min(self.capacity, self.tokens + self.refill)

    def allows(self) -> bool:
        return self.tokens > self.capacity / 2


class UpstreamPool:
    """Calls to the targets.

    Args:
        config: targets and their settings.
        message_bytes: the largest request or reply.
        credentials: None for plain text.
        clock: monotonic seconds.
        rng: jitter of the waits between tries.
        retried: told the outcome of each retry decision: `retried` or `budget_exhausted`.
    """

    def __init__(
        self,
        config: Upstream,
        message_bytes: int,
        credentials: grpc.ChannelCredentials | None,
        *,
        clock: Callable[[], float],
        rng: random.Random,
        retried: Callable[[str], None],
    ) -> None:
        options = _channel_options(config, message_bytes)
        compression = COMPRESSION[config.compression]
        connects = {
            address: partial(_channel, address, credentials, options, compression) for address in config.targets
        }
        self.targets = tuple(Target(address, connect, connect()) for address, connect in connects.items())
        self._patience = config.default_deadline
        self._leaving: dict[grpc.aio.Channel, asyncio.Task[None]] = {}
        self._retry: Retry = config.retry
        self._budget = RetryBudget(config.retry.budget, config.retry.budget_refill, config.retry.budget)
        self._clock = clock
        self._rng = rng
        self._retried = retried
        self._turn = 0
        self._ended = asyncio.Event()

    async def unary(self, path: str, body: bytes, metadata: Metadata, deadline: float) -> Reply:
        """One call, answered at the latest at `deadline` (on the clock). Cancelling the coroutine cancels the call."""
        reply, attempt = Reply(grpc.StatusCode.UNAVAILABLE, UNREACHABLE), 0
        tried: Target | None = None
        while True:
            target = tried = self._pick(avoid=tried)
            reply, safe = await self._attempt(target, path, body, metadata, deadline)
            attempt += 1
            if not safe:
                self._budget.succeeded()
                return reply
            self._budget.failed()
            wait = self._rng.uniform(0, self._retry.backoff * min(2 ** (attempt - 1), BACKOFF_CAP))
            if attempt >= self._retry.attempts or self._clock() + wait >= deadline:
                return reply
            if not (self._budget.allows() or self._elsewhere(target)):
                self._retried("budget_exhausted")
                return reply
            self._retried("retried")
            await asyncio.sleep(wait)

    async def stream(
        self, path: str, requests: AsyncIterator[bytes], metadata: Metadata, seconds: float
    ) -> "grpc.aio.UnaryStreamCall[bytes, bytes] | grpc.aio.StreamStreamCall[bytes, bytes]":
        """A call of any cardinality, as bytes; never retried.

        One message with nothing after it goes in one piece: gRPC loses the status of a stream that the server refuses
        while it is still being opened.
        """
        only, requests = await _single(requests)
        target = self._pick(avoid=None)
        if only is not None:
            call = target.channel.unary_stream(path)(only, timeout=seconds, metadata=metadata)
        else:
            call = target.channel.stream_stream(path)(requests, timeout=seconds, metadata=metadata)
        target.in_flight += 1
        call.add_done_callback(lambda _: self._left(target))
        return call

    async def idle(self) -> None:
        """Returns once no call is in flight."""
        while any(target.in_flight for target in self.targets):
            self._ended.clear()
            await self._ended.wait()

    def reconnect(self, target: Target) -> None:
        """Takes a new connection to a target: what was sent on the old one may be going nowhere, and nobody may say so.

        Calls that are in flight on the old one may still be answered.
        """
        old, target.channel = target.channel, target.connect()
        target.methods.clear()
        leaving = asyncio.get_running_loop().create_task(old.close(self._patience))
        self._leaving[old] = leaving
        leaving.add_done_callback(lambda _: self._leaving.pop(old, None))

    async def close(self) -> None:
        """Ends all channels and what is still in flight on them."""
        for leaving in tuple(self._leaving.values()):
            leaving.cancel()
        channels = *self._leaving, *(target.channel for target in self.targets)
        await asyncio.gather(*(channel.close() for channel in channels))

    def _left(self, target: Target) -> None:
        target.in_flight -= 1
        self._ended.set()

    async def _attempt(
        self, target: Target, path: str, body: bytes, metadata: Metadata, deadline: float
    ) -> tuple[Reply, bool]:
        """The reply, and whether another try is safe: the connection failed and nothing of an answer had come.

        It is safe too where gRPC says that time is up, and it is not: until a call has begun gRPC counts by the time of
        day (`_timeout_to_deadline` in grpc/aio/_utils.py), and that was set forwards.
        """
        # While connecting fails, calls fail at once and locally, even if the connection is back a moment later.
        failing = target.channel.get_state() is grpc.ChannelConnectivity.TRANSIENT_FAILURE
        target.in_flight += 1
        try:
            call = target.method(path)(body, timeout=max(0.0, deadline - self._clock()), metadata=metadata)
            try:
                answer = await _answer(call)
            except grpc.aio.AioRpcError as error:
                reply = failure(error)
                if _lost(reply, failing or not target.connected()):
                    return Reply(grpc.StatusCode.UNAVAILABLE, UNREACHABLE), True
                return reply, _early(reply, deadline - self._clock())
            initial, trailing = await call.initial_metadata(), await call.trailing_metadata()
            return Reply(
                grpc.StatusCode.OK, await call.details() or "", answer, _plain(initial), _plain(trailing)
            ), False
        finally:
            self._left(target)

    def _elsewhere(self, target: Target) -> bool:
        """Whether another target can take what one has lost, which is no storm: it gets no call twice."""
        return any(each is not target and each.connected() and not each.silent for each in self.targets)

    def _pick(self, avoid: Target | None) -> Target:
        """The target with the fewest calls in flight; connected ones that answer first, ties in turn."""
        if len(self.targets) == 1:
            return self.targets[0]
        self._turn = (self._turn + 1) % len(self.targets)
        in_turn = self.targets[self._turn :] + self.targets[: self._turn]
        return min(
            in_turn, key=lambda target: (target is avoid, not target.connected(), target.silent, target.in_flight)
        )


def _lost(reply: Reply, down: bool) -> bool:
    """Whether the connection failed before anything of an answer came; `down`: it was, or is.

    It may be back already, so gRPC's own words count too. It calls the end of a connection that broke its protocol
    UNKNOWN.
    """
    if reply.initial or reply.trailing:
        return False
    own = reply.details.startswith(_CONNECTION_ENDED)
    return (reply.code is grpc.StatusCode.UNAVAILABLE and (down or own)) or (
        reply.code is grpc.StatusCode.UNKNOWN and own
    )


def _early(reply: Reply, left: float) -> bool:
    """Whether gRPC itself ended a call at its deadline, with so many seconds left."""
    own = reply.details == _TIME_IS_UP and not reply.initial and not reply.trailing
    return reply.code is grpc.StatusCode.DEADLINE_EXCEEDED and own and left > EARLY_SECONDS


async def _single(requests: AsyncIterator[bytes]) -> tuple[bytes | None, AsyncIterator[bytes]]:
    """The only message, if the caller has sent one and closed its side; and all messages, to be read once.

    A caller that waits for the server to speak first is waited for no longer than one that may have more to say.
    """
    first = asyncio.ensure_future(anext(requests, None))
    await asyncio.wait({first}, timeout=HALF_CLOSE_SECONDS)
    if not first.done():
        return None, _rejoined([first], requests)
    only = first.result()
    if only is None:
        return None, requests
    second = asyncio.ensure_future(anext(requests, None))
    await asyncio.wait({second}, timeout=HALF_CLOSE_SECONDS)
    if second.done() and second.result() is None:
        return only, requests
    return None, _rejoined([first, second], requests)


async def _rejoined(taken: "list[asyncio.Future[bytes | None]]", rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    try:
        for coming in taken:
            message = await coming
            if message is None:
                return
            yield message
    finally:
        for coming in taken:
            coming.cancel()
    async for message in rest:
        yield message


async def _answer(call: "grpc.aio.UnaryUnaryCall[bytes, bytes]") -> bytes:
    """The answer of a call, which is cancelled if whoever waits for it is.

    By gRPC's own way of waiting the operations that are in flight then are never freed, a kilobyte a cancelled call
    (grpc/grpc#43360, as of grpcio 1.85). So the call is cancelled in gRPC's core alone, and its task ends by itself.

    Raises:
        grpc.aio.AioRpcError: it failed.
    """
    over = asyncio.Event()
    call.add_done_callback(lambda _: over.set())
    try:
        await over.wait()
    except asyncio.CancelledError:
        ConcreteCall.cancel(call)
        raise
    answer: bytes = await call
    return answer


def failure(error: grpc.aio.AioRpcError) -> Reply:
    """The upstream's error, as it came."""
    return Reply(
        error.code(), error.details() or "", b"", _plain(error.initial_metadata()), _plain(error.trailing_metadata())
    )


async def finish(call: grpc.aio.StreamStreamCall[bytes, bytes]) -> Reply:
    """How a relayed stream ended."""
    return Reply(await call.code(), await call.details() or "", trailing=_plain(await call.trailing_metadata()))


def _plain(metadata: grpc.aio.Metadata | None) -> Metadata:
    return tuple((key, value) for key, value in metadata) if metadata else ()


def _channel(
    address: str,
    credentials: grpc.ChannelCredentials | None,
    options: list[tuple[str, str | int]],
    compression: grpc.Compression,
) -> grpc.aio.Channel:
    if credentials is None:
        return grpc.aio.insecure_channel(address, options=options, compression=compression)
    return grpc.aio.secure_channel(address, credentials, options=options, compression=compression)


def _channel_options(config: Upstream, message_bytes: int) -> list[tuple[str, str | int]]:
    options: list[tuple[str, str | int]] = [
        ("grpc.max_send_message_length", GRPC_MAX_BYTES),
        ("grpc.max_receive_message_length", message_bytes),
        ("grpc.max_metadata_size", 2**20),  # the upstream may answer with more than callers may send
        ("grpc.absolute_max_metadata_size", 2**20),
        ("grpc.keepalive_time_ms", round(config.keepalive.interval * 1000)),
        ("grpc.keepalive_timeout_ms", round(config.keepalive.timeout * 1000)),
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.min_reconnect_backoff_ms", 5000),  # how long one connection attempt may take
        ("grpc.max_reconnect_backoff_ms", 2000),
        ("grpc.enable_http_proxy", 0),  # an http_proxy in the environment is not meant for this hop
        ("grpc.use_local_subchannel_pool", 1),  # a reload makes new connections, with new certificates
        ("grpc.primary_user_agent", f"tensorwall/{VERSION}"),
        # Addresses behind one DNS name share the load.
        ("grpc.service_config", json.dumps({"loadBalancingConfig": [{"round_robin": {}}]})),
    ]
    if config.tls is not None and config.tls.server_name is not None:
        options.append(("grpc.ssl_target_name_override", config.tls.server_name))
    return options
