"""Answered calls on their way to being observations.

What a call looks like is not worked out while its caller waits. The request and the reply wait as they came, for some
hundredths of a second, until the detectors' process takes all that have gathered; features of many rows at once cost a
fraction of what they cost one by one. Nothing of them is kept after that, and what may wait is bounded (`queue`).
Some of it is needed earlier: where rows have to be compared with clusters under a verdict before the model is asked,
and where a message is too large to wait.
"""

import contextlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from google.protobuf.message import DecodeError
from numpy.typing import NDArray

from detectors.features import Extractor, summarise, unknown
from detectors.observation import NO_CLASS, Answers, Features, Observation
from protos import serving_pb2 as serving
from proxy.codec import PREDICT, decode
from proxy.config.detection import Detection
from proxy.detection.answers import answers, distribution
from proxy.detection.inputs import tensors, usable

MAX_ROWS = 4096
"""Rows of one call that are observed; the others are counted."""
TOGETHER_BYTES = 256 * 2**10
"""Of inputs that are put together: more gains nothing."""
UNIT = 4096
"""Bytes that weigh as much as a row where memory is bounded; about what a row's observation takes eight times over."""

Lost = Callable[[str, int], None]
Array = NDArray[Any]


class Sighting(NamedTuple):
    """One answered call of a watched model. A tuple, since each call makes and pickles one.

    Attributes:
        time: seconds since 1970.
        caller: id of who was charged.
        groups: what several names of one party have in common.
        model: as asked for.
        signature: as asked for.
        path: full method name.
        rows: examples, as the request says.
        claim: bytes that the request's tensors take.
        request, reply: the messages; empty where what is needed of them is known.
        features: of the rows, if they are known; of MAX_ROWS of them at most.
        said: what the model said to all rows, if that is known.
    """

    time: float
    caller: str
    groups: tuple[str, ...]
    model: str
    signature: str
    path: str
    rows: int
    claim: int
    request: bytes
    reply: bytes
    features: Features | None = None
    said: Answers | None = None

    @property
    def weight(self) -> int:
        """What it takes to keep, in rows."""
        held = max(self.claim, len(self.request)) if self.features is None else 0
        return max(1, min(self.rows, MAX_ROWS), (held + len(self.reply)) // UNIT)


def observations(
    sightings: Sequence[Sighting], extractor: Extractor, settings: Detection, lost: Lost
) -> list[Observation]:
    """What detectors see of calls of one model, in their order.

    Args:
        sightings: of one model.
        extractor: the model's.
        settings: the model's.
        lost: told of rows that no observation is made of: for `request`, `reply` or `rows` (too many in one call).
    """
    seen = _looked_at(sightings, extractor, settings)
    made = []
    for each, said in zip(seen, _answers(seen, settings), strict=True):
        call, features = each.call, each.features
        if features is None:
            lost("request", max(1, each.rows))
        elif said is None:
            lost("reply", each.rows)
        else:
            if each.rows > MAX_ROWS:
                lost("rows", each.rows - MAX_ROWS)
            said = said[:MAX_ROWS]
            made.append(Observation(call.time, call.caller, call.groups, call.model, call.signature, features, said))
    return made


@dataclass(slots=True)
class _Seen:
    """A sighting, its rows, and the features of those that are observed; None if it cannot be read."""

    call: Sighting
    rows: int
    features: Features | None


class _Opened(NamedTuple):
    """Inputs of the rows that are observed, and whose they are."""

    of: _Seen
    inputs: Mapping[str, Array]

    @property
    def rows(self) -> int:
        return min(self.of.rows, MAX_ROWS)

    @property
    def kind(self) -> tuple[tuple[str, str, tuple[int, ...]], ...]:
        """Those of the same kind can be looked at together."""
        return tuple((name, values.dtype.str, values.shape[1:]) for name, values in sorted(self.inputs.items()))

    @property
    def size(self) -> int:
        return sum(values.nbytes for values in self.inputs.values())


def _looked_at(sightings: Sequence[Sighting], extractor: Extractor, settings: Detection) -> list[_Seen]:
    made = []
    alike: dict[Any, list[_Opened]] = {}
    for call in sightings:
        seen = _Seen(call, call.rows, call.features)
        made.append(seen)
        opened = _opened(call, settings.inputs) if call.features is None else None
        if opened is not None:
            inputs, seen.rows = opened
            each = _Opened(seen, {name: values[:MAX_ROWS] for name, values in inputs.items()})
            alike.setdefault(each.kind, []).append(each)
    for group in alike.values():
        for part in _parts(group):
            _extract(part, extractor)
    return made


def _opened(call: Sighting, wanted: Collection[str]) -> tuple[Mapping[str, Array], int] | None:
    if call.path == PREDICT:
        with contextlib.suppress(DecodeError):
            plain = tensors(serving.PredictRequest.FromString(call.request), wanted)
            if plain is not None:
                return plain
    decoded = decode(call.path, call.request)
    return None if decoded is None else usable(decoded, wanted)


def _parts(group: Sequence[_Opened]) -> Iterator[Sequence[_Opened]]:
    part: list[_Opened] = []
    size = 0
    for each in group:
        if part and size + each.size > TOGETHER_BYTES:
            yield part
            part, size = [], 0
        part.append(each)
        size += each.size
    yield part


def _extract(part: Sequence[_Opened], extractor: Extractor) -> None:
    try:
        joined = {name: np.concatenate([each.inputs[name] for each in part]) for name in part[0].inputs}
        whole = extractor(joined, sum(each.rows for each in part))
    except (ValueError, MemoryError):  # one spoils it for all
        for each in part if len(part) > 1 else ():
            _extract([each], extractor)
        return
    begin = 0
    for each in part:
        each.of.features = whole[begin : begin + each.rows]
        begin += each.rows


def _answers(seen: Sequence[_Seen], settings: Detection) -> list[Answers | None]:
    found: list[Answers | None] = [None] * len(seen)
    alike: dict[int, list[tuple[int, Array]]] = {}
    for at, each in enumerate(seen):
        call = each.call
        if each.features is None:  # nothing is made of it, and how many rows it says that it has may be anything
            continue
        if call.said is not None:
            found[at] = call.said if len(call.said.classes) == each.rows else unknown(each.rows)
            continue
        shares = distribution(call.path, call.reply, each.rows, settings)
        if shares is None:
            found[at] = answers(call.path, call.reply, each.rows, settings)
        else:
            alike.setdefault(shares.shape[1], []).append((at, shares))
    for group in alike.values():
        whole = summarise(np.concatenate([shares for _, shares in group]))
        begin = 0
        for at, shares in group:
            said = whole[begin : begin + len(shares)]
            begin += len(shares)
            if settings.output is None and (said.classes == NO_CLASS).all():  # perhaps another output is meant
                found[at] = answers(seen[at].call.path, seen[at].call.reply, seen[at].rows, settings)
            else:
                found[at] = said
    return found
