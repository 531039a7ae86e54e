"""Whether the proxy can serve: the model servers answer, and every configured model has a version to serve."""

import asyncio
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import grpc
import grpc.aio

from protos import serving_pb2 as serving
from proxy.logs import event
from proxy.upstream import Target, UpstreamPool

log = logging.getLogger("tensorwall.readiness")

GET_MODEL_STATUS = "/tensorflow.serving.ModelService/GetModelStatus"
PROBE_TIMEOUT = 2.0
INTERVAL = 1.0
INTERVAL_NOT_READY = 0.2
PATIENCE = 3
"""Probes in a row that may go unanswered on a live connection: a busy model server is not a dead one."""


@dataclass(frozen=True, slots=True)
class Readiness:
    """Attributes: ready, and if not, the reasons in words."""

    ready: bool
    reasons: tuple[str, ...] = ()


NOT_ASKED = Readiness(False, ("the model server has not answered yet",))


class ReadinessWatch:
    """Asks the targets for the configured models' status, or, with none configured, whether they answer at all.

    Args:
        upstream: the pool to watch.
        models: names that must have an AVAILABLE version on at least one target.
        changed: told of each change of readiness.
        target_up: told of each target's state after each probe.
        readiness: what holds until the first probe; after a reload, what held before it.
    """

    def __init__(
        self,
        upstream: UpstreamPool,
        models: Iterable[str],
        changed: Callable[[Readiness], None],
        target_up: Callable[[str, bool], None],
        readiness: Readiness = NOT_ASKED,
    ) -> None:
        self._upstream = upstream
        self._models = tuple(models)
        self._changed = changed
        self._target_up = target_up
        self._missed: dict[str, int] = {}
        self._last: dict[str, frozenset[str] | None] = {}
        self.readiness = readiness

    async def run(self) -> None:
        """Probes until cancelled; with many models and targets more slowly, 50 probes a second at most."""
        while True:
            await self.probe()
            probes = len(self._upstream.targets) * max(1, len(self._models))
            pause = INTERVAL if self.readiness.ready else INTERVAL_NOT_READY
            await asyncio.sleep(max(pause, probes / 50))

    async def probe(self) -> Readiness:
        """One round over all targets; returns what came of it."""
        rounds = await asyncio.gather(*(self._probe_target(target) for target in self._upstream.targets))
        readiness = self._judge([found for found in rounds if found is not None])
        if readiness != self.readiness:
            self.readiness = readiness
            self._changed(readiness)
        return readiness

    def _judge(self, answered: list[frozenset[str]]) -> Readiness:
        if not answered:
            return Readiness(False, ("no model server answers",))
        missing = [model for model in self._models if not any(model in found for found in answered)]
        return Readiness(not missing, tuple(f"model {model!r} has no available version" for model in missing))

    async def _probe_target(self, target: Target) -> frozenset[str] | None:
        """The configured models that the target serves; None if it does not answer."""
        try:
            if self._models:
                found = frozenset([model for model in self._models if await _available(target, model)])
            else:
                await _available(target, "")
                found = frozenset()
            self._missed[target.address] = 0
            self._last[target.address] = found
            target.silent = False
        except grpc.aio.AioRpcError as error:
            target.silent = error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
            self._last[target.address] = self._without_answer(target)
        self._target_up(target.address, self._last[target.address] is not None)
        return self._last[target.address]

    def _without_answer(self, target: Target) -> frozenset[str] | None:
        """What to believe of a target that did not say: its last word for a while, if connected and so only busy.

        A connection on which nothing comes back may be one that the network has forgotten, and another one would work.
        """
        missed = self._missed[target.address] = self._missed.get(target.address, 0) + 1
        connected = target.connected()
        if target.silent and connected and missed % PATIENCE == 0:
            event(log, logging.WARNING, "no answer on a connection, trying another", target=target.address)
            self._upstream.reconnect(target)
        return self._last.get(target.address) if missed < PATIENCE and connected else None


_ANSWERS = frozenset({grpc.StatusCode.NOT_FOUND, grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.UNIMPLEMENTED})
"""Errors that a working server gives to this question; others say that it is busy, unreachable or going away."""


async def _available(target: Target, model: str) -> bool:
    request = serving.GetModelStatusRequest()
    if model:
        request.model_spec.name = model
    try:
        body = await target.method(GET_MODEL_STATUS)(request.SerializeToString(), timeout=PROBE_TIMEOUT)
    except grpc.aio.AioRpcError as error:
        if error.code() in _ANSWERS:
            return False
        raise
    states = serving.GetModelStatusResponse.FromString(body).model_version_status
    return any(status.state == serving.ModelVersionStatus.AVAILABLE for status in states)
