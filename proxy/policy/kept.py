"""A verdict as bytes, so that it outlives the process that reached it."""

import base64
import json
from typing import Any

import numpy as np

from detectors.findings import Cluster, Finding, Reading, Subject, Technique
from detectors.observation import DIMENSIONS, Floats
from proxy.config.detection import STEPS, Response
from proxy.policy.verdict import Evidence, Verdict

VERSION = 1


class UnusableError(Exception):
    """Bytes are no verdict of this version."""


def dump(verdict: Verdict, mark: str) -> bytes:
    """Everything but what the settings say.

    Args:
        verdict: one that stands.
        mark: of the features by which a cluster's rows are known.
    """
    ladder = verdict.response.ladder
    cluster = _latest_cluster(verdict)
    value = {
        "v": VERSION,
        "mark": mark,
        "id": verdict.id,
        "subject": [verdict.subject.kind, verdict.subject.id],
        "technique": verdict.technique.value,
        "step": ladder[verdict.level].step,
        "highest": ladder[verdict.highest].step,
        "until": verdict.until,
        "since": verdict.since,
        "updated": verdict.updated,
        "found_at": verdict.found_at,
        "acted_at": verdict.acted_at,
        "callers": verdict.callers,
        "evidence": [_evidence(each) for each in verdict.evidence.values()],
        "cluster": None if cluster is None else [_packed(cluster.members), cluster.radius],
    }
    return json.dumps(value, separators=(",", ":")).encode()


def technique_of(raw: bytes) -> tuple[Technique, str]:
    """What a verdict is for, which decides what follows from it, and its mark.

    Raises:
        UnusableError: it is none.
    """
    try:
        value = json.loads(raw)
        if value["v"] != VERSION:
            raise UnusableError(f"a verdict of format {value['v']!r}; this version reads {VERSION}")
        return Technique(value["technique"]), str(value["mark"])
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise UnusableError(f"no verdict: {error!r}") from None


def load(raw: bytes, model: str, response: Response) -> Verdict:
    """A verdict on a model. Its mode and immunity are left to who takes it.

    Args:
        raw: what `dump` gave.
        model: its name.
        response: what follows; a step that its ladder has not is the one before.

    Raises:
        UnusableError: it is none.
    """
    technique, _ = technique_of(raw)
    try:
        value = json.loads(raw)
        kind, name = value["subject"]
        if kind not in ("caller", "group", "cluster"):
            raise ValueError(kind)
        packed = value["cluster"]
        cluster = None if packed is None else Cluster(_unpacked(packed[0]), float(packed[1]), value["callers"])
        evidence = [_read(each, technique, cluster) for each in value["evidence"]]
        level = _level(response, value["step"])
        return Verdict(
            str(value["id"]),
            model,
            Subject(kind, str(name)),
            technique,
            response,
            "shadow",
            False,
            float(value["since"]),
            float(value["updated"]),
            level,
            float(value["until"]),
            max(level, _level(response, value["highest"])),
            int(value["found_at"]),
            int(value["acted_at"]),
            {each.finding.reading.detector: each for each in evidence},
            {str(caller): int(rows) for caller, rows in value["callers"].items()},
        )
    except (ValueError, TypeError, LookupError, AttributeError, OverflowError) as error:
        raise UnusableError(f"a damaged verdict: {error!r}") from None


def _latest_cluster(verdict: Verdict) -> Cluster | None:
    if verdict.subject.kind != "cluster":
        return None
    readings = sorted((each.finding.reading for each in verdict.evidence.values()), key=lambda reading: reading.time)
    return next((reading.cluster for reading in reversed(readings) if reading.cluster is not None), None)


def _evidence(evidence: Evidence) -> list[Any]:
    finding, reading = evidence.finding, evidence.finding.reading
    return [
        reading.detector,
        reading.statistic,
        [reading.subject.kind, reading.subject.id],
        reading.value,
        reading.time,
        reading.window,
        reading.rows,
        reading.seen,
        reading.note,
        reading.cluster is not None,
        finding.surprise,
        finding.threshold,
        finding.alone,
        evidence.decades,
    ]


def _read(value: list[Any], technique: Technique, cluster: Cluster | None) -> Evidence:
    detector, statistic, (kind, name), number, time, window, rows, seen, note, near, *judged = value
    if near and cluster is None:  # a caller's part in one, whose members its own verdict has
        cluster = Cluster(np.zeros((0, DIMENSIONS), np.float32), 0.0)
    reading = Reading(
        str(detector),
        str(statistic),
        Subject(kind, str(name)),
        technique,
        float(number),
        float(time),
        float(window),
        int(rows),
        int(seen),
        cluster if near else None,
        str(note),
    )
    surprise, threshold, alone, decades = judged
    return Evidence(Finding(reading, float(surprise), float(threshold), bool(alone)), float(decades))


def _level(response: Response, step: str) -> int:
    return max(
        (at for at, each in enumerate(response.ladder) if STEPS.index(each.step) <= STEPS.index(step)), default=-1
    )


def _packed(members: Floats) -> str:
    return base64.b64encode(members.astype("<f4").tobytes()).decode()


def _unpacked(packed: str) -> Floats:
    found = np.frombuffer(base64.b64decode(packed), "<f4").reshape(-1, DIMENSIONS).astype(np.float32)
    if not np.isfinite(found).all():
        raise ValueError("a member that is not finite")
    return found
