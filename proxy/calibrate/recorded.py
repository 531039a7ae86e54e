"""Recorded traffic as observations, without the callers that were under a verdict at any time of it."""

from collections.abc import Iterator, Sequence

from detectors.features import Extractor
from detectors.observation import Observation
from proxy.calibrate.traffic import MAX_ROWS, Traffic, TrafficError, left_out
from proxy.capture.observed import ScalingSample, observation
from proxy.capture.record import RecordedCall
from proxy.capture.source import Source, SourceError
from proxy.config.detection import Detection


def recorded(paths: Sequence[str], model: str, settings: Detection, salt: bytes) -> Traffic:
    """A model's recorded calls.

    They are read twice: first for who is marked and for the scale of columns, which marked callers have no part in as
    far as they are known by then; then for the observations.

    Args:
        paths: of captured files.
        model: its name.
        settings: which inputs and output are looked at.
        salt: of the features.

    Raises:
        TrafficError: there is nothing to be read.
    """
    try:
        source = Source(paths)
    except SourceError as error:
        raise TrafficError(str(error)) from None
    found = _First(model, settings, salt)
    for call in source:
        found.add(call)
    if not found.rows:
        raise TrafficError("\n".join([*source.problems, _nothing(found, source, model)]))
    scaling = found.sample.scaling()
    extractor = Extractor(salt, scaling)
    seen: list[Observation] = []
    unread = kept = 0
    for call in _benign(source, model, found.marked):
        if kept >= MAX_ROWS:
            break
        made = observation(call, settings, extractor)
        if made is None:
            unread += 1
        else:
            seen.append(made)
            kept += made.rows
    seen.sort(key=lambda each: each.time)
    notes = [*source.problems, *left_out(found.marked_rows, len(found.marked), len(found.by_defaults))]
    if unread:
        notes.append(f"left out {unread:,} calls that cannot be read")
    if kept >= MAX_ROWS:
        notes.append(f"the first {kept:,} rows are used, which is as many as a calibration takes")
    if found.share < 1:
        notes.append(
            f"{found.share:.0%} of the calls were captured: callers look quieter than they are, and thresholds for "
            "whole histories come out too low; capture all calls of a model to calibrate it"
        )
    return Traffic(seen, scaling, notes)


class _First:
    """What a first look at the recording gives."""

    def __init__(self, model: str, settings: Detection, salt: bytes) -> None:
        self.sample = ScalingSample(settings, Extractor(salt))
        self.rows = 0
        self.share = 1.0
        self.others: set[str] = set()
        self.by_defaults: set[str] = set()
        self._model = model
        self._rows_of: dict[str, int] = {}
        self._marked: set[str] = set()

    @property
    def marked(self) -> set[str]:
        """Callers that were under a verdict at any time."""
        return self._marked

    @property
    def marked_rows(self) -> int:
        """All rows of them, those before the verdict too."""
        return sum(self._rows_of[caller] for caller in self._marked)

    def add(self, call: RecordedCall) -> None:
        if call.model != self._model:
            self.others.add(call.model)
            return
        caller = call.caller.id
        self.rows += call.rows
        self.share = min(self.share, call.share)
        self._rows_of[caller] = self._rows_of.get(caller, 0) + call.rows
        if call.marks:
            self._marked.add(caller)
            if all(mark.profile == "defaults" for mark in call.marks):
                self.by_defaults.add(caller)
        if caller not in self._marked:
            self.sample.add(call)


def _benign(source: Source, model: str, marked: set[str]) -> Iterator[RecordedCall]:
    for call in source:
        if call.model == model and call.caller.id not in marked:
            yield call


def _nothing(found: _First, source: Source, model: str) -> str:
    if found.others:
        return f"no call of {model!r} was captured; there are calls of {', '.join(sorted(found.others)[:10])}"
    if source.foreign:
        return (
            f"{source.foreign:,} records were not written by tensorwall and name neither time nor caller; "
            "calibrate from what tensorwall captured, or from a sample with --data"
        )
    return f"there is no call in {len(source.files)} files"
