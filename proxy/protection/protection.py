"""A model's protection as the request path uses it: one exchange at a time, cleaned, asked and hardened."""

import time
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import Any

import grpc
import numpy as np

from defenses.input import InvalidInputError
from proxy.codec import Decoded
from proxy.errors import Rejection
from proxy.metrics import ProtectionMetrics
from proxy.offload import offload
from proxy.protection.guards import Guards
from proxy.protection.requests import OpenRequest
from proxy.protection.sanitize import Sanitizer, check_signature, invalid
from proxy.protection.shield import Shield
from proxy.protection.squeeze import NotSqueezableError, SqueezeGuard, enlarge, judge, refused_text
from proxy.signatures import DEFAULT, Signature, SignatureTable
from proxy.upstream import Reply

Forward = Callable[[bytes], Awaitable[Reply]]

_ASK_AGAIN = frozenset(
    {
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.OUT_OF_RANGE,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.StatusCode.FAILED_PRECONDITION,
        grpc.StatusCode.INTERNAL,
    }
)
"""What a model server may say to an enlarged batch that it would not say to the caller's own."""


@dataclass(slots=True)
class Exchange:
    """One request on its way through a model's protection.

    Attributes:
        path: full method name.
        model: its name as asked for.
        body: what goes to the model.
        guards: what is to be done for this caller.
        rows: examples of the caller.
        identities: what identifies the caller's own rows, for each output whose noise needs it.
        enlarged: the body with squeezed copies, if they ride along.
        scores: (rows,) squeezing disagreement, where there is one.
    """

    path: str
    model: str
    body: bytes
    guards: Guards
    rows: int = 0
    identities: dict[str, Sequence[bytes]] = field(default_factory=dict)
    enlarged: bytes | None = None
    scores: Any = None


class Protection:
    """What the path does to requests and replies of protected models.

    Args:
        signatures: what is known of the models.
        secret: keys the noise of answers.
        rng: secret; the dice of input defenses are thrown from it.
        executor: where large requests and replies are worked on.
        metrics: told of all that is done.
        message_bytes: the largest message; copies that would not fit do not ride along.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        signatures: SignatureTable,
        secret: bytes,
        rng: np.random.Generator,
        executor: Executor,
        metrics: ProtectionMetrics,
        message_bytes: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._signatures = signatures
        self._rng = rng
        self._executor = executor
        self._metrics = metrics
        self._message_bytes = message_bytes
        self._clock = clock
        self._sanitizer = Sanitizer(rng, executor, metrics)
        self._shield = Shield(secret, metrics)

    async def sanitize(self, path: str, decoded: Decoded, body: bytes, guards: Guards, deadline: float) -> Exchange:
        """Cleans a request. What no enforced rule changes goes on as the caller's own bytes.

        Raises:
            Rejection: an input is not acceptable.
        """
        started = self._clock()
        size = max(len(body), decoded.claim)
        request = await offload(self._executor, size, OpenRequest, decoded, guards.names)
        exchange = Exchange(path, decoded.model, body, guards, request.rows)
        await self._sanitize(request, exchange, self._signature(decoded), size, deadline)
        self._metrics.took(decoded.model, "sanitize", self._clock() - started)
        return exchange

    async def ask(self, exchange: Exchange, forward: Forward) -> Reply:
        """Asks the model: with the squeezed copies if they ride along, and then cuts them from the reply.

        Raises:
            Rejection: squeezing moves the answer to a row too far.
        """
        guard = exchange.guards.squeezing
        if guard is None or exchange.enlarged is None:
            return await forward(exchange.body)
        reply = await forward(exchange.enlarged)
        if reply.code in _ASK_AGAIN:
            self._metrics.not_scored(exchange.model, "upstream")
            return await forward(exchange.body)
        if reply.code is not grpc.StatusCode.OK:
            return reply
        judged = await offload(self._executor, len(reply.body), judge, exchange.path, reply.body, exchange.rows, guard)
        if judged.scores is None:
            self._metrics.not_scored(exchange.model, "output")
        else:
            exchange.scores = judged.scores
            self._refuse(exchange.model, judged.scores, guard)
        if judged.body is None:
            self._metrics.not_scored(exchange.model, "reply")
            return await forward(exchange.body)
        return Reply(reply.code, reply.details, judged.body, reply.initial, reply.trailing)

    async def shield(self, exchange: Exchange, reply: Reply) -> Reply:
        """Hardens a reply. What no enforced rule changes goes on as the model's own bytes.

        Raises:
            Rejection: an answer is withheld.
        """
        if not exchange.guards.outputs or reply.code is not grpc.StatusCode.OK:
            return reply
        started = self._clock()
        body = await offload(
            self._executor,
            len(reply.body),
            self._shield.harden,
            exchange.path,
            reply.body,
            exchange.model,
            exchange.guards.outputs,
            lambda guard: exchange.identities[guard.name],
        )
        self._metrics.took(exchange.model, "shield", self._clock() - started)
        return Reply(reply.code, reply.details, body, reply.initial, reply.trailing)

    async def _sanitize(
        self, request: OpenRequest, exchange: Exchange, signature: Signature | None, size: int, deadline: float
    ) -> None:
        guards = exchange.guards
        await self._identify(request, exchange, size)
        if signature is not None and not request.names_version:  # another version may have another signature
            self._check(request, exchange, signature)
        if await self._sanitizer.clean(request, exchange.model, guards.inputs, size, deadline):
            exchange.body = request.body()
        if guards.squeezing is not None:
            await self._enlarge(request, exchange, guards.squeezing, size)

    async def _identify(self, request: OpenRequest, exchange: Exchange, size: int) -> None:
        for guard in exchange.guards.outputs:
            if guard.keyed:
                rule = guard.rule
                names = rule.key_inputs or None
                exchange.identities[guard.name] = await offload(
                    self._executor, size, request.identities, names, rule.key_step
                )

    def _check(self, request: OpenRequest, exchange: Exchange, signature: Signature) -> None:
        for guard in exchange.guards.inputs:
            try:
                if guard.name in signature.inputs:
                    check_signature(request, guard.name, signature.inputs[guard.name])
            except InvalidInputError as error:
                self._metrics.input_refused(exchange.model, guard.name, guard.mode)
                if guard.enforced:
                    raise invalid(guard.name, str(error)) from None

    async def _enlarge(self, request: OpenRequest, exchange: Exchange, guard: SqueezeGuard, size: int) -> None:
        if len(exchange.body) * (len(guard.chains) + 1) > self._message_bytes:
            self._metrics.not_scored(exchange.model, "size")
            return
        try:
            exchange.enlarged = await offload(self._executor, size, enlarge, request, guard, self._rng)
        except NotSqueezableError:
            self._metrics.not_scored(exchange.model, "input")

    def _refuse(self, model: str, scores: Any, guard: SqueezeGuard) -> None:
        above = np.flatnonzero(scores > guard.rule.threshold)
        self._metrics.scored(model, guard.mode, scores[np.isfinite(scores)].tolist(), len(above))
        if len(above) and guard.enforced:
            raise Rejection(grpc.StatusCode.INVALID_ARGUMENT, refused_text(above.tolist()), reason="squeezing")

    def _signature(self, decoded: Decoded) -> Signature | None:
        """That of the newest version, as far as it is known."""
        spec = getattr(decoded.message, "model_spec", None)
        return None if spec is None else self._signatures.of(decoded.model).get(spec.signature_name or DEFAULT)
