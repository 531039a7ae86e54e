"""Recorded calls as observations, made as the proxy makes them of live ones; and their form on the wire."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from detectors.calibration import MIN_CALLERS
from detectors.features import Extractor, Scaling
from detectors.observation import DIMENSIONS, FINGERPRINT, Answers, Features, Floats, Observation
from protos.capture_pb2 import Observed
from proxy.capture.record import RecordedCall
from proxy.codec import Decoded, decode
from proxy.config.detection import Detection
from proxy.detection.glance import groups
from proxy.detection.inputs import arrays
from proxy.detection.sightings import Sighting, observations

SCALING_ROWS = 10_000
"""Rows from which the scale of columns is learned."""


class ScalingSample:
    """Columns of the first rows, for the inputs whose scale counts; nothing of it is kept afterwards.

    No caller gives more than its part of them, so that neither a batch nor a polling caller decides what is usual, and
    no median is a row of somebody's.

    Args:
        settings: which inputs are looked at.
        extractor: says which of them need a scale.
        most: rows that are enough, of MIN_CALLERS callers or more.
    """

    def __init__(self, settings: Detection, extractor: Extractor, most: int = SCALING_ROWS) -> None:
        self._settings = settings
        self._extractor = extractor
        self._most = most
        self._columns: dict[str, list[Floats]] = {}
        self._rows: dict[str, int] = {}
        self._needed = True

    @property
    def enough(self) -> bool:
        """Whether more rows would change nothing."""
        return not self._needed or (len(self._rows) >= MIN_CALLERS and sum(self._rows.values()) >= self._most)

    def add(self, call: RecordedCall) -> None:
        """Takes in a call's rows, as far as they can be read."""
        held = self._rows.get(call.caller.id, 0)
        left = self._most // MIN_CALLERS - held
        decoded = decode(call.path, call.body) if left > 0 and not self.enough else None
        if decoded is None:
            return
        inputs, rows = _arrays(decoded, self._settings)
        used = {name: values for name, values in inputs.items() if values.ndim and len(values) == rows and values.size}
        if not used:
            return
        found = {name: self._extractor.columns(values[:left]) for name, values in used.items()}
        for name, columns in found.items():
            if columns is not None:
                self._columns.setdefault(name, []).append(columns)
        self._rows[call.caller.id] = held + min(rows, left)
        self._needed = bool(self._columns)

    def scaling(self) -> Mapping[str, Scaling]:
        """Of each input, if enough callers gave rows; rows of another width than the first are no part of it."""
        if len(self._rows) < MIN_CALLERS:
            return {}
        return {
            name: Scaling.of(np.concatenate([part for part in parts if part.shape[1] == parts[0].shape[1]]))
            for name, parts in self._columns.items()
        }


def observation(call: RecordedCall, settings: Detection, extractor: Extractor) -> Observation | None:
    """What detectors see of a call; None if its request or its answer cannot be read."""
    decoded = decode(call.path, call.body)
    if decoded is None:
        return None
    spec = getattr(decoded.message, "model_spec", None)
    sighting = Sighting(
        call.time + call.seconds,
        call.caller.id,
        groups(call.caller),
        call.model,
        "" if spec is None else spec.signature_name,
        call.path,
        call.rows,
        sum(decoded.claims.values()),
        call.body,
        call.reply,
    )
    made = observations([sighting], extractor, settings, lambda reason, rows: None)  # noqa: ARG005  # None says it
    return made[0] if made else None


def to_wire(seen: Observation, marked: bool) -> Observed:
    """As a message."""
    return Observed(
        time=seen.time,
        caller=seen.caller,
        groups=seen.groups,
        signature=seen.signature,
        digests=seen.features.digests.astype("<u8").tobytes(),
        fingerprints=seen.features.fingerprints.astype("<u8").tobytes(),
        embeddings=seen.features.embeddings.astype("<f4").tobytes(),
        classes=seen.answers.classes.astype("<i4").tobytes(),
        margins=seen.answers.margins.astype("<f4").tobytes(),
        entropies=seen.answers.entropies.astype("<f4").tobytes(),
        marked=marked,
    )


def from_wire(observed: Observed, model: str) -> Observation:
    """From a message.

    Raises:
        ValueError: its arrays do not fit together.
    """
    digests = np.frombuffer(observed.digests, "<u8").astype(np.uint64)
    rows = len(digests)
    found = Features(
        digests,
        np.frombuffer(observed.fingerprints, "<u8").astype(np.uint64).reshape(rows, FINGERPRINT),
        np.frombuffer(observed.embeddings, "<f4").astype(np.float32).reshape(rows, DIMENSIONS),
    )
    said = Answers(
        np.frombuffer(observed.classes, "<i4").astype(np.int32).reshape(rows),
        np.frombuffer(observed.margins, "<f4").astype(np.float32).reshape(rows),
        np.frombuffer(observed.entropies, "<f4").astype(np.float32).reshape(rows),
    )
    return Observation(observed.time, observed.caller, tuple(observed.groups), model, observed.signature, found, said)


def _arrays(decoded: Decoded, settings: Detection) -> tuple[dict[str, Any], int]:
    try:
        return arrays(decoded, settings.inputs)
    except (ValueError, MemoryError):
        return {}, 0
