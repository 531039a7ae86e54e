"""What detectors say: readings of statistics, and findings, which are readings that benign traffic hardly gives."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal, NamedTuple, TypeAlias

from detectors.observation import Floats

SubjectKind: TypeAlias = Literal["caller", "group", "cluster", "window"]


BLAMED_ROWS = 3


class Technique(StrEnum):
    """What an attacker is after."""

    EVASION = "evasion"
    EXTRACTION = "extraction"
    MEMBERSHIP = "membership"
    INVERSION = "inversion"

    @property
    def atlas(self) -> str:
        """Technique of MITRE ATLAS."""
        return {
            Technique.EVASION: "AML.T0043.001",
            Technique.EXTRACTION: "AML.T0024.002",
            Technique.MEMBERSHIP: "AML.T0024.000",
            Technique.INVERSION: "AML.T0024.001",
        }[self]

    @property
    def owasp(self) -> str:
        """Entry of the OWASP Machine Learning Security Top 10 (2023)."""
        return {
            Technique.EVASION: "ML01",
            Technique.EXTRACTION: "ML05",
            Technique.MEMBERSHIP: "ML04",
            Technique.INVERSION: "ML03",
        }[self]


class Subject(NamedTuple):
    """Who or what a reading is about.

    Attributes:
        kind: a caller, a group of callers, a cluster of near rows whoever sent them, or (in a calibration) a window of
            all rows.
        id: the caller's id, the group's, the cluster's, or the window's.
    """

    kind: SubjectKind
    id: str


@dataclass(frozen=True, slots=True)
class Cluster:
    """Near rows that belong together, whoever sent them.

    Attributes:
        members: (n, DIMENSIONS) float32 embeddings, a bounded sample.
        radius: a row within this distance of a member belongs to the cluster.
        callers: rows of each of the callers with the most, a bounded number.
    """

    members: Floats
    radius: float
    callers: Mapping[str, int] = field(default_factory=dict)

    @property
    def blamed(self) -> dict[str, int]:
        """The callers that are held to be part of it: a natural near-duplicate is one row or two."""
        return {caller: rows for caller, rows in self.callers.items() if rows >= BLAMED_ROWS}


@dataclass(frozen=True, slots=True)
class Reading:
    """One statistic of one subject.

    Attributes:
        detector: its name, as in the configuration.
        statistic: `detector.what`: the name under which a profile knows its benign distribution.
        subject: whom it is about.
        technique: what it speaks for.
        value: of the statistic; larger is worse.
        time: of the last row in it, seconds since 1970.
        window: seconds from its first row to its last.
        rows: how many rows it was made from.
        seen: rows of the subject so far.
        cluster: where the subject is one.
        note: in words, for whoever reads the evidence; no number in it decides anything.
    """

    detector: str
    statistic: str
    subject: Subject
    technique: Technique
    value: float
    time: float
    window: float
    rows: int
    seen: int
    cluster: Cluster | None = None
    note: str = ""


@dataclass(frozen=True, slots=True)
class Finding:
    """A reading held against the benign profile.

    Attributes:
        reading: what was read.
        surprise: -log10 of the share of benign subjects that ever read as much; 3 is one in a thousand.
        threshold: the value at which the profile's false-positive rate is reached.
        alone: the value is above the threshold, so that the finding is enough by itself.
    """

    reading: Reading
    surprise: float
    threshold: float
    alone: bool


def evidence(decades: Iterable[tuple[Reading, float]]) -> float:
    """What findings of several detectors weigh together: the strongest whole, each other one less a decade.

    Weights of evidence add up (Good 1950) where they are independent, which detectors of one traffic are not. So all
    that look at near rows count as one, and the decade is the price of having looked in several ways. What benign
    callers' sums come to, a calibration finds out.

    Args:
        decades: readings, and the surprise that is left of each.
    """
    strongest: dict[str, float] = {}
    for reading, surprise in decades:
        source = "near rows" if reading.cluster is not None else reading.detector
        strongest[source] = max(strongest.get(source, 0.0), surprise)
    ordered = sorted(strongest.values(), reverse=True)
    return ordered[0] + sum(max(0.0, each - 1) for each in ordered[1:]) if ordered else 0.0
