"""Requests and replies in the hands of every defense, and of the detectors' features."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import numpy as np
from prometheus_client import CollectorRegistry

from detectors.features import Extractor
from proxy.codec import INFERENCE, Decoded, decode
from proxy.config.schema import Config
from proxy.detection.sightings import Sighting, observations
from proxy.errors import Rejection
from proxy.identity import Caller
from proxy.metrics import ProtectionMetrics
from proxy.protection import GuardTable, Protection
from proxy.signatures import SignatureTable
from proxy.upstream import Reply
from tests.fuzz.targets.calls import Calls, answer, answer_of_rows, parted
from tests.fuzz.targets.decoder import BUDGET
from tests.fuzz.targets.everything import models

_CALLER = Caller("peer:10.0.0.1", "peer", "network:10.0.0.0/24", None, "10.0.0.1")


class _Upstream:
    async def unary(self, path: str, body: bytes, metadata: Any, deadline: float) -> Reply:
        return answer(path, body)


class Defenses(Calls):
    """proxy/protection with all that it uses, and proxy/detection/sightings.py; the model server is a function."""

    name = "defenses"

    def __init__(self) -> None:
        config = Config.model_validate({"upstream": "x:1", "models": models(mode="shadow")})
        metrics = ProtectionMetrics(CollectorRegistry())
        upstream: Any = _Upstream()
        self._guards = GuardTable(config, upstream, metrics)
        self._loop = asyncio.new_event_loop()
        signatures = self._loop.run_until_complete(_learned(upstream))
        executor = ThreadPoolExecutor(1)
        self._protection = Protection(
            signatures, bytes(32), np.random.default_rng(1), executor, metrics, config.bounds.message_bytes
        )
        self._detection = config.models["free"].detection
        self._extractor = Extractor(bytes(16))

    def run(self, data: bytes) -> str:
        path, body = parted(data)
        decoded = decode(path, body)
        if decoded is None or path not in INFERENCE:
            return "unparsable" if decoded is None else "not inference"
        if sum(decoded.claims.values()) > BUDGET:
            return "tensor_budget"
        try:
            reply = self._loop.run_until_complete(self._answered(path, body, decoded))
        except Rejection as rejection:
            return _refused(rejection)
        assert self._detection is not None
        lost: list[str] = []
        own = answer_of_rows(path, body, decoded.rows)
        if own.code is grpc.StatusCode.OK:
            call = Sighting(
                *(0.0, _CALLER.id, (_CALLER.group,), decoded.model, "", path),
                *(decoded.rows, sum(decoded.claims.values()), body, own.body),
            )
            del decoded  # the detectors look at it later, when nobody else does
            observations([call], self._extractor, self._detection, lambda reason, rows: lost.append(reason))
        return f"{reply.code.name}{', ' + lost[0] + ' lost' if lost else ''}"

    async def _answered(self, path: str, body: bytes, decoded: Decoded) -> Reply:
        async def forward(asked: bytes) -> Reply:  # to another process, whose memory is not ours
            return answer_of_rows(path, asked, decoded.rows)

        guards = self._guards.of(decoded.model, _CALLER)
        if not guards.protects:
            return await forward(body)
        exchange = await self._protection.sanitize(path, decoded, body, guards, 1e9)
        return await self._protection.shield(exchange, await self._protection.ask(exchange, forward))


async def _learned(upstream: Any) -> SignatureTable:
    known = asyncio.Event()
    table = SignatureTable(("known",), lambda path, body, _: upstream.unary(path, body, (), 0), lambda *_: known.set())
    learning = asyncio.create_task(table.run())
    await known.wait()
    learning.cancel()
    return table


def _refused(rejection: Rejection) -> str:
    documented = grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.FAILED_PRECONDITION, grpc.StatusCode.UNAVAILABLE
    assert rejection.code in documented, f"refused with {rejection.code}"
    return f"refused: {rejection.reason}"
