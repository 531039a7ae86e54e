"""From recorded benign traffic to a profile.

First what near means (distances to the nearest among so many rows of other callers, shared hashes). Then the engine
sees the observations three times, in their order, each time with what was learned before: what benign traces of near
rows look like; how far each statistic of each benign subject goes; what callers' evidence comes to, all detectors
together.
"""

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from detectors.benign import SAMPLE, Benign
from detectors.course import Course
from detectors.detector import Detector
from detectors.engine import STATISTICS, Engine
from detectors.features.scaling import Scaling
from detectors.findings import Reading, Subject, Technique, evidence
from detectors.hardness import EVERYBODY
from detectors.novelty import VIEWS, Novelty, comparable, point
from detectors.observation import Observation
from detectors.profile import Profile
from detectors.provenance import SPREAD, VIEWED
from detectors.tail import REPORTED, Tail

BATCH = 64
"""Observations seen together."""
MIN_CALLERS = 20
MIN_ROWS = 500
COUNTS = (1, 4, 16, 64, 256, 1024, 4096, 16_384, 65_536)
PROBES = 512
LEAST_SHARED = 8
FOLDS = 10
MARGIN = 1.5
"""Decades added to what benign callers reached: thresholds are estimates, and the next ones reach a little further."""
MUCH = 0.75
"""And so many more for extraction: those who ask much are few among benign callers, and are looked at most often."""
_SNAPSHOTS = 12
"""Courses kept of one trace, however often it was read."""


class CalibrationError(Exception):
    """The traffic does not suffice; `str()` says for what."""


@dataclass(frozen=True, slots=True)
class _Rows:
    """One row of each observation and more, as columns."""

    embeddings: NDArray[np.float32]
    fingerprints: NDArray[np.uint64]
    digests: NDArray[np.uint64]
    callers: NDArray[np.int64]


def calibrate(
    observations: Sequence[Observation],
    model: str,
    salt: bytes,
    rate: float,
    rng: np.random.Generator,
    scaling: Mapping[str, Scaling] | None = None,
    own: Sequence[Detector] = (),
) -> Profile:
    """Learns a profile.

    Args:
        observations: benign, ordered by time, their features made with `salt` and `scaling`.
        model: its name.
        salt: of the features.
        rate: share of benign callers that may be found wrongly.
        rng: samples rows and deals callers to folds.
        scaling: of inputs' columns.
        own: detectors of the operator's.

    Raises:
        CalibrationError: there is too little of it.
    """
    callers = {observation.caller for observation in observations}
    rows = sum(observation.rows for observation in observations)
    if len(callers) < MIN_CALLERS or rows < MIN_ROWS:
        raise CalibrationError(
            f"{rows} rows of {len(callers)} callers are too few to say what is usual; "
            f"record at least {MIN_ROWS} rows of {MIN_CALLERS}"
        )
    seconds = observations[-1].time - observations[0].time
    columns = _columns(observations)
    created = datetime.now(UTC).isoformat(timespec="seconds")
    profile = Profile(model, salt, True, created, rate, rows, len(callers), seconds, scaling=dict(scaling or {}))
    profile = replace(
        profile,
        nearest=_nearest(columns, rng),
        shared=_shared(columns, rng),
        benign=_sample(observations, rng),
    )
    novelty, tails = _courses(observations, profile, rng)
    profile = replace(profile, novelty=novelty, tails=tails)
    profile = replace(profile, tails=_tails(observations, profile, own))
    return replace(profile, levels=_levels(observations, profile, own))


def _columns(observations: Sequence[Observation]) -> _Rows:
    ids: dict[str, int] = {}
    owners = [np.full(each.rows, ids.setdefault(each.caller, len(ids))) for each in observations]
    return _Rows(
        np.concatenate([each.features.embeddings for each in observations]),
        np.concatenate([each.features.fingerprints for each in observations]),
        np.concatenate([each.features.digests for each in observations]),
        np.concatenate(owners),
    )


def _nearest(rows: _Rows, rng: np.random.Generator) -> tuple[tuple[int, float], ...]:
    """Median distances of rows to the nearest of so many rows of other callers, repeats apart."""
    order = rng.permutation(len(rows.callers))
    probes = order[np.unique(rows.callers[order], return_index=True)[1]][:PROBES]
    order = rng.permutation(order)
    found: list[tuple[int, float]] = []
    for count in COUNTS:
        pool = order[:count]
        if found and len(pool) < count:
            break
        gaps = np.full(len(probes), np.inf)
        for at in range(0, len(pool), 8192):
            part = pool[at : at + 8192]
            squares = _gaps(rows.embeddings[probes], rows.embeddings[part])
            same = rows.callers[probes][:, np.newaxis] == rows.callers[part]
            same |= rows.digests[probes][:, np.newaxis] == rows.digests[part]
            gaps = np.minimum(gaps, np.where(same, np.inf, squares).min(axis=1))
        known = gaps[np.isfinite(gaps)]
        if len(known):
            found.append((count, float(np.sqrt(np.median(known).clip(1e-12)))))
    return tuple(found)


def _gaps(one: NDArray[np.float32], other: NDArray[np.float32]) -> NDArray[np.float32]:
    squares: NDArray[np.float32] = (
        (one**2).sum(axis=1)[:, np.newaxis] + (other**2).sum(axis=1) - 2 * one @ other.T
    ).clip(0)
    return squares


def _shared(rows: _Rows, rng: np.random.Generator) -> int:
    """Twice the hashes that three of four callers' rows at most share with any row of another caller."""
    order = rng.permutation(len(rows.callers))
    probes = order[np.unique(rows.callers[order], return_index=True)[1]][:PROBES]
    pool = order[:8192]
    holders: dict[int, list[int]] = defaultdict(list)
    for at in pool.tolist():
        for each in rows.fingerprints[at].tolist():
            if each:
                holders[each].append(at)
    most = []
    for at in probes.tolist():
        counts: dict[int, int] = defaultdict(int)
        for each in rows.fingerprints[at].tolist():
            for holder in holders.get(each, ()):
                if rows.callers[holder] != rows.callers[at] and rows.digests[holder] != rows.digests[at]:
                    counts[holder] += 1
        most.append(max(counts.values(), default=0))
    return max(LEAST_SHARED, 2 * int(np.quantile(most, 0.75)))


def _sample(observations: Sequence[Observation], rng: np.random.Generator) -> Benign:
    """Distinct rows, of as many callers as there are."""
    by_caller: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for at, observation in enumerate(observations):
        by_caller[observation.caller] += [(at, row) for row in range(observation.rows)]
    chosen: dict[int, tuple[int, int]] = {}
    turns = max(1, SAMPLE // len(by_caller)) * 2
    for owned in by_caller.values():
        for pick in rng.permutation(len(owned))[:turns]:
            at, row = owned[pick]
            chosen.setdefault(int(observations[at].features.digests[row]), (at, row))
    places = list(chosen.values())
    places = [places[pick] for pick in rng.permutation(len(places))[:SAMPLE]]
    return Benign.of(
        np.stack([observations[at].features.embeddings[row] for at, row in places]),
        np.array([observations[at].answers.classes[row] for at, row in places], dtype=np.int32),
        np.array([observations[at].answers.margins[row] for at, row in places], dtype=np.float32),
        np.array([observations[at].answers.entropies[row] for at, row in places], dtype=np.float32),
    )


def batches(observations: Sequence[Observation]) -> Iterator[Sequence[Observation]]:
    """The observations as an engine may see them, some at a time."""
    for at in range(0, len(observations), BATCH):
        yield observations[at : at + BATCH]


def _courses(
    observations: Sequence[Observation], profile: Profile, rng: np.random.Generator
) -> tuple[dict[str, Novelty], dict[str, Tail]]:
    """What benign traces are like in each view, and how far those of each tenth are from the others (cross-fitting)."""
    courses: dict[str, dict[str, list[Course]]] = defaultdict(lambda: defaultdict(list))
    engine = Engine(profile, told=lambda kind, trace, found: courses[kind][trace].append(found))
    for batch in batches(observations):
        for _ in engine.readings(batch):
            pass
    novelty, tails = {}, {}
    for told, traces in courses.items():
        by_party: dict[str, list[list[Course]]] = defaultdict(list)
        for trace, found in traces.items():
            by_party[trace if trace.startswith("\0") else trace.partition("\0")[0]].append(found)
        parties = list(by_party.values())
        order = rng.permutation(len(parties))
        folds = [order[at::FOLDS] for at in range(FOLDS)]
        kind = told.partition(".")[2]
        most = REPORTED if kind == SPREAD else math.inf
        for view in VIEWED[kind]:
            name = f"{told}{view}"
            highest = []
            for fold in folds:
                measure = _novelty(view, [parties[at] for at in order if at not in set(fold)], rng)
                highest += [max(measure(found) for trace in parties[at] for found in trace) for at in fold]
            novelty[name] = _novelty(view, parties, rng)
            tails[name] = Tail.of(highest, profile.callers, most)
    return novelty, tails


def _novelty(view: str, parties: Sequence[list[list[Course]]], rng: np.random.Generator) -> Novelty:
    traces = [[found for found in trace if comparable(view, found)] for party in parties for trace in party]
    points = [point(view, found) for trace in traces if trace for found in _thinned(trace)]
    return Novelty.of(view, np.array(points).reshape(-1, len(VIEWS[view])), rng)


def _thinned(courses: list[Course]) -> list[Course]:
    """Early and late ones alike."""
    picked = np.unique(np.geomspace(1, len(courses), min(len(courses), _SNAPSHOTS)).round().astype(int)) - 1
    return [courses[at] for at in picked]


def _tails(observations: Sequence[Observation], profile: Profile, own: Sequence[Detector]) -> dict[str, Tail]:
    """Of every statistic; of the views, what was measured against the other folds stays."""
    highest: dict[str, dict[Subject, float]] = defaultdict(dict)
    engine = Engine(profile, own)
    for batch in batches(observations):
        for reading in engine.readings(batch):
            held = highest[reading.statistic]
            for subject in _subjects(reading):
                held[subject] = max(held.get(subject, -np.inf), reading.value)
    found = {name: Tail.of(highest[name].values(), profile.callers) for name in (*STATISTICS, *highest)}
    pooled = {
        name: Tail.of(windows.values(), len(windows), most=REPORTED)
        for name, windows in highest.items()
        if any(window.kind == "window" for window in windows)
    }
    return {**found, **pooled, **profile.tails}


def _subjects(reading: Reading) -> list[Subject]:
    """Of whom benign values are held, each with its largest: of near rows, those who sent several; of all, windows."""
    if reading.subject == EVERYBODY:
        return [Subject("window", str(reading.seen))]
    return [Subject("caller", caller) for caller in blamed(reading)] or [reading.subject]


def _levels(observations: Sequence[Observation], profile: Profile, own: Sequence[Detector]) -> dict[str, float]:
    """For each technique, the decades of evidence that no more than the wanted share of callers ever exceeds.

    All detectors are added up as a policy does, without its decay, so that what is acted on has the wanted rate and not
    each statistic by itself.
    """
    strongest: dict[tuple[str, Technique], dict[str, tuple[Reading, float]]] = defaultdict(dict)
    engine = Engine(profile, own)
    for batch in batches(observations):
        for finding in engine.see(batch):
            for caller in blamed(finding.reading):
                held = strongest[caller, finding.reading.technique]
                detector = finding.reading.detector
                if detector not in held or finding.surprise > held[detector][1]:
                    held[detector] = finding.reading, finding.surprise
    callers = {observation.caller for observation in observations}
    levels = {}
    for technique in Technique:
        sums = [evidence(strongest[caller, technique].values()) for caller in callers]
        reached = max(-math.log10(profile.rate), float(np.quantile(sums, 1 - profile.rate)))
        levels[technique.value] = reached + MARGIN + (MUCH if technique is Technique.EXTRACTION else 0)
    return levels


def blamed(reading: Reading) -> list[str]:
    """The callers that a reading speaks against: itself, or those with several rows in a cluster."""
    if reading.cluster is not None:
        return list(reading.cluster.blamed)
    return [reading.subject.id] if reading.subject.kind == "caller" else []
