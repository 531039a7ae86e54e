"""Live windows: observations of one model's calls for some time, to whoever calibrates from them.

`POST /observations` on the admin port with {"model": NAME, "seconds": N, "salt": HEX}. The answer is a stream of
`Live` messages, each after its length: the scaling of columns once, observations, and an end. An empty message is a
sign of life. The salt is the asker's, new for each window, so that the one in force never leaves the proxy; inputs
never do either.
"""

import asyncio
import json
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from io import BytesIO
from typing import Any

from aiohttp import web
from google.protobuf.proto import serialize_length_prefixed

from detectors.features import Extractor
from detectors.features.extractor import MIN_SALT
from detectors.observation import Observation
from protos import capture_pb2 as wire
from proxy.capture.observed import ScalingSample, observation, to_wire
from proxy.capture.record import RecordedCall
from proxy.config.detection import Detection
from proxy.detection import Watched

MAX_WINDOWS = 4
"""At a time, each of another model."""
MAX_SECONDS = 86_400
MAX_BYTES = 32 * 2**20
"""Of requests and replies that wait to be observed, and of those from which the scaling is learned."""
SCALING_ROWS = 1024
BATCH_BYTES = 256 * 2**10
"""Worked on at a time, beside the event loop."""
PACE = 0.25
"""Seconds between batches if nothing waits."""
SIGN_OF_LIFE = 1.0
"""Seconds without anything to send."""

Told = Callable[[str, str, int], None]
"""Of a model, `sent`, `dropped` or `unread`, and rows."""


class Window:
    """One model's live window.

    Args:
        settings: of its detection.
        salt: of the features.
        told: of rows.
    """

    def __init__(self, settings: Detection, salt: bytes, told: Told) -> None:
        self._settings = settings
        self._told = told
        self._salt = salt
        self._sample: ScalingSample | None = ScalingSample(settings, Extractor(salt), SCALING_ROWS)
        self._held: list[RecordedCall] = []
        self._extractor = Extractor(salt)
        self._waiting: deque[RecordedCall] = deque()
        self._bytes = 0
        self.dropped = 0
        self.ended = ""

    def put(self, call: RecordedCall) -> None:
        """Takes a call, or drops it if too much waits. Never waits."""
        size = _size(call)
        if self._bytes + size > MAX_BYTES:
            self.dropped += call.rows
            self._told(call.model, "dropped", call.rows)
        else:
            self._bytes += size
            self._waiting.append(call)

    async def parts(self, seconds: float) -> AsyncIterator[bytes]:
        """What is to be sent, until the time is over or the window is ended."""
        loop = asyncio.get_running_loop()
        end = time.monotonic() + seconds
        spoken = 0.0
        while not (over := time.monotonic() >= end or bool(self.ended)) or self._waiting:
            batch = self._take()
            part = await loop.run_in_executor(None, self._observed, batch) if batch else b""
            self._bytes -= sum(map(_size, batch))
            if part or time.monotonic() - spoken >= SIGN_OF_LIFE:
                spoken = time.monotonic()
                yield part or _prefixed([wire.Live()])
            if not batch and not over:
                await asyncio.sleep(min(PACE, max(0.0, end - time.monotonic())))
        yield await loop.run_in_executor(None, self._last)

    def _take(self) -> list[RecordedCall]:
        taken: list[RecordedCall] = []
        size = 0
        while self._waiting and size < BATCH_BYTES:
            taken.append(self._waiting.popleft())
            size += _size(taken[-1])
        return taken

    def _observed(self, batch: Sequence[RecordedCall]) -> bytes:
        """In another thread, one batch at a time."""
        sample = self._sample
        if sample is None:
            return _prefixed(self._messages(batch))
        for call in batch:
            sample.add(call)
        self._held += batch
        if sample.enough or sum(map(_size, self._held)) > MAX_BYTES:
            return _prefixed(self._scaled(sample))
        return b""

    def _last(self) -> bytes:
        made = self._scaled(self._sample) if self._sample is not None else []
        end = wire.Live(end=wire.Live.End(dropped_rows=self.dropped, reason=self.ended))
        return _prefixed([*made, end])

    def _scaled(self, sample: ScalingSample) -> list[wire.Live]:
        """The scaling is known now, so that what was held can be observed."""
        held, self._held, self._sample = self._held, [], None
        scaling = sample.scaling()
        self._extractor = Extractor(self._salt, scaling)
        scales = {
            name: wire.Scale(centre=each.centre.tolist(), scale=each.scale.tolist()) for name, each in scaling.items()
        }
        return [wire.Live(scaling=wire.Live.Scales(inputs=scales)), *self._messages(held)]

    def _messages(self, batch: Sequence[RecordedCall]) -> list[wire.Live]:
        made = []
        for call in batch:
            seen: Observation | None = observation(call, self._settings, self._extractor)
            if seen is None:
                self._told(call.model, "unread", call.rows)
            else:
                self._told(call.model, "sent", seen.rows)
                made.append(wire.Live(observed=to_wire(seen, bool(call.marks))))
        return made


class Live:
    """The windows that are open.

    Args:
        watched: a model's detection, if it is watched.
        told: of rows.
    """

    def __init__(self, watched: Callable[[str], Watched | None], told: Told) -> None:
        self._watched = watched
        self._told = told
        self._open: dict[str, Window] = {}

    def of(self, model: str) -> Window | None:
        """A model's window, if one is open."""
        return self._open.get(model)

    def close(self) -> None:
        """Ends all windows; each sends what it has."""
        for window in self._open.values():
            window.ended = "the proxy stops"

    async def observations(self, request: web.Request) -> web.StreamResponse:
        """Handles `POST /observations`."""
        if request.content_type != "application/json":  # a page in somebody's browser cannot send this unasked
            return web.Response(status=415, text="send application/json\n")
        try:
            model, seconds, salt = _asked(json.loads(await request.read()))
        except RecursionError:
            return web.Response(status=400, text="the body is no JSON that can be read\n")
        except ValueError as error:
            return web.Response(status=400, text=f"{error}\n")
        watched = self._watched(model)
        if watched is None:
            said = f"detection does not watch the model {model!r:.300}; set models.NAME.detection.mode to shadow\n"
            return web.Response(status=404, text=said)
        if model in self._open or len(self._open) >= MAX_WINDOWS:
            return web.Response(status=409, text="a live window is open already; wait for its end\n")
        window = self._open[model] = Window(watched.settings, salt, self._told)
        try:
            response = web.StreamResponse(headers={"Content-Type": "application/octet-stream"})
            await response.prepare(request)
            async for part in window.parts(seconds):
                await response.write(part)
            await response.write_eof()
        except ConnectionError:  # whoever asked has gone
            pass
        finally:
            del self._open[model]
        return response


def _asked(body: Any) -> tuple[str, float, bytes]:
    wanted = body if isinstance(body, dict) else {}
    model, seconds, salt = wanted.get("model"), wanted.get("seconds"), wanted.get("salt")
    if not isinstance(model, str) or not model:
        raise ValueError("model: a name is needed")
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 < seconds <= MAX_SECONDS:
        raise ValueError(f"seconds: {json.dumps(seconds)} is not a number above 0 and up to {MAX_SECONDS}")
    try:
        secret = bytes.fromhex(salt or "")
    except (TypeError, ValueError):
        raise ValueError("salt: hexadecimal digits are needed") from None
    if not MIN_SALT <= len(secret) <= 64:
        raise ValueError(f"salt: {MIN_SALT} to 64 bytes are needed")
    return model, float(seconds), secret


def _prefixed(messages: Sequence[wire.Live]) -> bytes:
    made = BytesIO()
    for message in messages:
        serialize_length_prefixed(message, made)
    return made.getvalue()


def _size(call: RecordedCall) -> int:
    return len(call.body) + len(call.reply)
