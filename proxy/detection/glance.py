"""One call of a watched model as it passes: what is known of it before the model answers, and what is kept of it."""

from collections.abc import AsyncGenerator
from concurrent.futures import Executor
from dataclasses import dataclass, field

from detectors.observation import Features, Floats
from proxy.codec import Decoded
from proxy.config.detection import StepName
from proxy.detection.answers import answers
from proxy.detection.inputs import worth_looking
from proxy.detection.sightings import MAX_ROWS, Sighting
from proxy.detection.watched import Watched
from proxy.identity import Caller
from proxy.limiter import network
from proxy.offload import offload
from proxy.policy import Standing

BLOCK_ROWS = 1024
"""Rows that are looked at together, beyond those that are observed: their features take 700 KB."""
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
        features: of its rows, of MAX_ROWS at most; None if they are not needed yet, or if it could not be read.
        echoes: embeddings of rows that are to be answered as earlier ones, by their number; of MAX_ROWS at most.
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
    echoes: dict[int, Floats] = field(default_factory=dict)
    seconds: float = 0.0

    def sighting(self, watched: Watched, now: float, path: str, reply: bytes) -> Sighting:
        """What the detectors get of it.

        Args:
            watched: the model.
            now: seconds since 1970.
            path: full method name.
            reply: the model's message.
        """
        caller, said = self.caller, None
        if len(reply) > EARLY_BYTES:
            said, reply = answers(path, reply, self.rows, watched.settings), b""
        return Sighting(
            now,
            caller.id,
            groups(caller),
            watched.name,
            self.signature,
            path,
            self.rows,
            self.claim,
            self.request,
            reply,
            self.features,
            said,
        )


def groups(caller: Caller) -> tuple[str, ...]:
    """What a caller has in common with others: its group, and the network that it calls from."""
    return tuple(dict.fromkeys((caller.group, f"network:{network(caller.address)}")))


async def looked_at(
    watched: Watched, decoded: Decoded, size: int, executor: Executor
) -> AsyncGenerator[tuple[int, Features]]:
    """A request's rows, so many at a time that their features take little memory however many there are.

    Args:
        watched: the model.
        decoded: the request.
        size: bytes that it takes, as sent or as it will be in the model server.
        executor: where large ones are looked at.

    Yields:
        How many rows there are, and the features of the next ones: of MAX_ROWS first, then of BLOCK_ROWS at a time.
        Nothing if nothing in it belongs to its rows one by one.

    Raises:
        ValueError, MemoryError: numbers that no array can hold.
    """
    opened = await offload(executor, size, worth_looking, decoded, watched.settings.inputs)
    if opened is None:
        return
    inputs, rows = opened
    begin, end = 0, min(rows, MAX_ROWS)
    while begin < end:
        block = {name: values[begin:end] for name, values in inputs.items()}
        yield rows, await offload(executor, size, watched.extractor, block, end - begin)
        begin, end = end, min(rows, end + BLOCK_ROWS)
