"""One call of a watched model as it passes: what is known of it before the model answers, and what is kept of it."""

import asyncio
from concurrent.futures import Executor
from dataclasses import dataclass

from detectors.observation import Features
from proxy.codec import Decoded
from proxy.config.detection import StepName
from proxy.detection.answers import answers
from proxy.detection.inputs import features
from proxy.detection.sightings import MAX_ROWS, Sighting
from proxy.detection.watched import Watched
from proxy.identity import Caller
from proxy.limiter import network
from proxy.policy import Standing

INLINE_BYTES = 16 * 2**10
"""Requests up to this size are looked at on the event loop; a thread costs more than they do."""
EARLY_BYTES = 4 * 2**20
"""Messages larger than this are looked at at once, so that they need not be kept."""


@dataclass(slots=True)
class Glance:
    """What is known of a call of a watched model before the model answers.

    Attributes:
        caller: whose it is.
        signature: as asked for; MultiInference has none.
        standings: of each row, by the clusters that it belongs to and by its caller.
        rules: the hardest step of them whose rules hold, for the whole call.
        request: the message; empty if the features are known.
        rows: examples, as it says.
        claim: bytes that its tensors take.
        features: of its rows; None if they are not needed yet, or if it could not be read.
        seconds: that it took so far.
    """

    caller: Caller
    signature: str
    standings: list[Standing]
    rules: StepName | None
    request: bytes
    rows: int
    claim: int
    features: Features | None = None
    seconds: float = 0.0

    def sighting(self, watched: Watched, now: float, path: str, reply: bytes) -> Sighting:
        """What the detectors get of it.

        Args:
            watched: the model.
            now: seconds since 1970.
            path: full method name.
            reply: the model's message.
        """
        caller, known, rows, said = self.caller, self.features, self.rows, None
        if known is not None:
            known, rows = known[:MAX_ROWS], len(known)
        if len(reply) > EARLY_BYTES:
            said, reply = answers(path, reply, rows, watched.settings), b""
        return Sighting(
            now,
            caller.id,
            groups(caller),
            watched.name,
            self.signature,
            path,
            rows,
            self.claim,
            self.request,
            reply,
            known,
            said,
        )


def groups(caller: Caller) -> tuple[str, ...]:
    """What a caller has in common with others: its group, and the network that it calls from."""
    return tuple(dict.fromkeys((caller.group, f"network:{network(caller.address)}")))


async def extracted(watched: Watched, decoded: Decoded, size: int, executor: Executor) -> Features | None:
    """Features of a request's rows; None if nothing in it belongs to its rows one by one.

    Args:
        watched: the model.
        decoded: the request.
        size: of its message, bytes.
        executor: where large ones are looked at.

    Raises:
        ValueError, MemoryError: numbers that no array can hold.
    """
    wanted, extractor = watched.settings.inputs, watched.extractor
    if size <= INLINE_BYTES:
        return features(decoded, wanted, extractor)
    return await asyncio.get_running_loop().run_in_executor(executor, features, decoded, wanted, extractor)
