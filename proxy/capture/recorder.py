"""Capture as the request path uses it: whose calls, marked how, and to whom they go."""

import asyncio
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import grpc
from prometheus_client import CollectorRegistry

from protos.capture_pb2 import Mark
from proxy.capture.caps import Caps
from proxy.capture.live import Live
from proxy.capture.record import RecordedCall
from proxy.codec import Decoded
from proxy.config.capture import Capture
from proxy.detection import Detection
from proxy.detection.glance import groups
from proxy.identity import Caller
from proxy.limiter import network
from proxy.metrics.capture import CaptureMetrics
from proxy.upstream import Reply

if TYPE_CHECKING:
    from proxy.capture.writer import Writer

END_SECONDS = 15.0
"""For what waits to be written, and the last upload, when the proxy stops."""


class Recorder:
    """Takes answered calls. One for the whole process. Nothing is taken unless configured, or asked for by a window.

    Args:
        detection: knows who is under a verdict.
        registry: of the metrics.
        clock: seconds since 1970.
        rng: throws which calls are captured; need not be secret.
    """

    def __init__(
        self,
        detection: Detection,
        registry: CollectorRegistry,
        clock: Callable[[], float] = time.time,
        rng: random.Random | None = None,
    ) -> None:
        self._detection = detection
        self._metrics = CaptureMetrics(registry, lambda: sum(each.queued_bytes for each in self._writers))
        self._clock = clock
        self._rng = rng or random.Random()  # noqa: S311  # which calls are captured is no secret
        self._settings: Capture | None = None
        self._shares: Mapping[str, float] = {}
        self._caps = self._caps_marked = Caps(0)
        self._writers: list[Writer] = []
        self.live = Live(detection.of, self._metrics.live)

    def configure(self, settings: Capture | None) -> None:
        """Takes other settings, or none. What was taken before is written as it was meant to be. Never waits."""
        old, self._settings = self._settings, settings
        if settings == old:
            return
        self._shares = {} if settings is None else settings.models
        if settings is not None and (old is None or _caps(old) != _caps(settings)):
            self._caps, self._caps_marked = Caps(settings.rows_per_hour), Caps(settings.rows_per_hour_under_verdict)
        for model in self._shares:
            self._metrics.captures(model)
        self._metrics.failing(False)
        for writer in self._writers:
            writer.finish()
        self._writers = [writer for writer in self._writers if writer.alive]
        if settings is not None:
            from proxy.capture.writer import Writer  # needs an extra

            self._writers.append(Writer(settings, self._metrics))
            self._writers[-1].start()

    def answered(self, path: str, caller: Caller, decoded: Decoded, body: bytes, reply: Reply, seconds: float) -> None:
        """Takes a call that the model answered. Never waits.

        Args:
            path: full method name.
            caller: who was charged.
            decoded: the request.
            body: its bytes, as the caller sent them.
            reply: the model's own.
            seconds: since the call came.
        """
        model = decoded.model
        share, window = self._shares.get(model), self.live.of(model)
        taken = share is not None and self._rng.random() < share
        if not (taken or window) or reply.code is not grpc.StatusCode.OK:
            return
        now = self._clock()
        marks = self._marks(model, caller, now)
        kept = replace(caller, address=network(caller.address))
        call = RecordedCall(
            now - seconds, seconds, path, model, decoded.rows, kept, marks, share or 0.0, body, reply.body
        )
        if window is not None:
            window.put(call)
        if taken:
            self._capture(call, now)

    async def close(self) -> None:
        """Ends windows, and capture once all is written or the time for it is over."""
        self.live.close()
        self.configure(None)
        for writer in self._writers:
            await asyncio.to_thread(writer.join, END_SECONDS)

    def _capture(self, call: RecordedCall, now: float) -> None:
        caps, reason = (self._caps_marked, "verdict_cap") if call.marks else (self._caps, "cap")
        if caps.take(call.caller.id, call.rows, now):
            self._writers[-1].put(call)
        else:
            self._metrics.dropped(call.model, reason)

    def _marks(self, model: str, caller: Caller, now: float) -> Sequence[Mark]:
        watched = self._detection.of(model)
        if watched is None:
            return ()
        return [
            Mark(
                technique=verdict.technique.value,
                step=step,
                mode=verdict.mode,
                subject=verdict.subject.kind,
                profile=watched.profile.digest,
            )
            for verdict, step in self._detection.policy.against(model, caller.id, groups(caller), now)
        ]


def _caps(settings: Capture) -> tuple[int, int]:
    return settings.rows_per_hour, settings.rows_per_hour_under_verdict
