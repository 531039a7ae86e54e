"""The request path: identify ► decode ► admit ► look ► sanitize ► forward ► record ► observe ► shield.

One `Pipeline` is one configuration. A reload makes a new one; calls in flight end on the one that they began on.
"""

import math
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

import grpc
import grpc.aio

from proxy.capture.recorder import Recorder
from proxy.codec import INFERENCE, Decoded, decode
from proxy.config.schema import Config
from proxy.detection import Detection
from proxy.errors import Metadata, Rejection
from proxy.identity import Caller, Identifier
from proxy.limiter import Limiter
from proxy.metadata import forwarded
from proxy.metrics import Metrics
from proxy.policy import CLEAR
from proxy.protection import GuardTable, Protection, must_parse
from proxy.upstream import Reply, UpstreamPool

Context: TypeAlias = grpc.aio.ServicerContext


@dataclass(slots=True)
class Call:
    """What is known of one call so far; its end is counted from this.

    Attributes:
        path: full method name.
        started: when it came, on the pipeline's clock.
        request_bytes: size of the request message.
        deadline: when it has to be answered, on the same clock.
        model: the model's name as the caller sent it.
        rows: examples in the request.
        outcome: what becomes of them, as the metrics name it.
        upstream_seconds: time that the upstream had it, retries included.
        caller: whose it is, once that is known.
        refused: whether the proxy itself refused it.
    """

    path: str
    started: float
    request_bytes: int = 0
    deadline: float = math.inf
    model: str = ""
    rows: int = 0
    outcome: str = "admitted"
    upstream_seconds: float = 0.0
    caller: Caller | None = None
    refused: bool = False


class Pipeline:
    """The path of every call under one configuration.

    Args:
        config: the configuration in force.
        identifier: tells who is calling.
        limiter: admits calls.
        guards: what is done to whose call.
        protection: does it.
        detection: watches, and knows who is under a verdict.
        recorder: takes answered calls where capture is on.
        upstream: the model servers.
        metrics: counts what could not be parsed.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        config: Config,
        identifier: Identifier,
        limiter: Limiter,
        guards: GuardTable,
        protection: Protection,
        detection: Detection,
        recorder: Recorder,
        upstream: UpstreamPool,
        metrics: Metrics,
        clock: Callable[[], float],
    ) -> None:
        self.allowed = frozenset(config.methods.allow)
        self.bounds = config.bounds
        self._default_deadline = config.upstream.default_deadline
        self._identifier = identifier
        self._limiter = limiter
        self._guards = guards
        self._protection = protection
        self._detection = detection
        self._recorder = recorder
        self._strict = must_parse(config)
        self._upstream = upstream
        self._metrics = metrics
        self._clock = clock

    async def answer(self, call: Call, body: bytes, context: Context) -> Reply:
        """Answers a call of a known method.

        Raises:
            Rejection: the proxy's own answer; nothing was forwarded.
        """
        call.deadline = self._deadline(context)
        headers = context.invocation_metadata() or ()
        caller = call.caller = self._identify(headers, context)
        metadata = forwarded(headers, self._identifier.stripped_headers)
        decoded = self._decode(call, body)
        self._detection.refuse_blocked(caller, call.model)
        if call.path not in INFERENCE:
            return await self._forward(call, body, metadata)
        watched = self._detection.of(call.model)
        standing = CLEAR if watched is None else self._detection.admit(watched, caller)
        guards = self._guards.of(call.model, caller, standing.rules)
        release = await self._limiter.admit(caller, call.model, call.rows, call.request_bytes, guards.limits)
        context.add_done_callback(lambda _: release())  # once the caller has taken the reply
        if decoded is None or not (guards.protects or watched):
            reply = await self._forward(call, body, metadata)
            return reply if decoded is None else self._recorded(call, caller, decoded, body, reply)
        if watched is not None:
            patience = call.deadline - self._clock()
            glance = await self._detection.look(watched, caller, standing, decoded, body, patience)
            guards = self._guards.of(call.model, caller, glance.rules)
        call.outcome = guards.outcome
        forward = partial(self._forward, call, metadata=metadata)
        exchange = None
        if guards.protects:
            exchange = await self._protection.sanitize(call.path, decoded, body, guards, call.deadline)
        reply = await (forward(body) if exchange is None else self._protection.ask(exchange, forward))
        self._recorded(call, caller, decoded, body, reply)
        if watched is not None:
            reply = self._detection.answered(watched, glance, call.path, reply)
        return reply if exchange is None else await self._protection.shield(exchange, reply)

    async def open(self, call: Call, requests: AsyncIterator[bytes], context: Context) -> grpc.aio.Call:
        """Begins a call of a method that is allowed by name and otherwise unknown: messages of any number, as bytes.

        Raises:
            Rejection: as `answer`.
        """
        call.deadline = self._deadline(context)
        headers = context.invocation_metadata() or ()
        caller = call.caller = self._identify(headers, context)
        metadata = forwarded(headers, self._identifier.stripped_headers)
        self._detection.refuse_blocked(caller, "")
        release = await self._limiter.admit(caller, "", 0, 0)
        try:
            seconds = max(0.0, call.deadline - self._clock())
            stream = await self._upstream.stream(call.path, requests, metadata, seconds)
        except BaseException:
            release()
            raise
        stream.add_done_callback(lambda _: release())
        return stream

    def _identify(self, headers: Metadata, context: Context) -> Caller:
        connection = context.auth_context() if self._identifier.reads_certificates else {}
        return self._identifier.identify(headers, context.peer(), connection)

    def _decode(self, call: Call, body: bytes) -> Decoded | None:
        decoded = decode(call.path, body)
        if decoded is None:
            self._metrics.unparsable()
            if self._strict and call.path in INFERENCE:
                raise Rejection(
                    grpc.StatusCode.INVALID_ARGUMENT,
                    f"the request is no valid message of {call.path}; send the message that this method takes",
                    reason="unparsable",
                )
            return None
        call.model, call.rows = decoded.model, decoded.rows
        if decoded.claim > self.bounds.tensor_budget:
            name, claim = max(decoded.claims.items(), key=lambda item: item[1])
            raise Rejection(
                grpc.StatusCode.INVALID_ARGUMENT,
                f"input {name!r:.100} would take {claim} bytes in the model server, and one request may take "
                f"{self.bounds.tensor_budget} in all; send fewer or smaller rows",
                reason="tensor_budget",
            )
        return decoded

    def _recorded(self, call: Call, caller: Caller, decoded: Decoded, body: bytes, reply: Reply) -> Reply:
        self._recorder.answered(call.path, caller, decoded, body, reply, self._clock() - call.started)
        return reply

    async def _forward(self, call: Call, body: bytes, metadata: Metadata) -> Reply:
        started = self._clock()
        try:
            return await self._upstream.unary(call.path, body, metadata, call.deadline)
        finally:
            call.upstream_seconds += self._clock() - started

    def _deadline(self, context: Context) -> float:
        """When a call that has just come has to be answered.

        gRPC counts what remains by the time of day. Where that says that nothing does, it was set forwards: gRPC's own
        timer, which is monotonic, would have ended the call, and still will.
        """
        remaining = context.time_remaining()
        return self._clock() + (remaining if remaining is not None and remaining > 0 else self._default_deadline)
