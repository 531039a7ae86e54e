"""The detectors of one model, put together."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from hashlib import blake2b

import numpy as np

from detectors.detector import Detector, DetectorStats
from detectors.distances import DistanceDistribution
from detectors.extraction import ExtractionMonitor
from detectors.findings import Finding, Reading, Subject, Technique
from detectors.graph import Graph
from detectors.hardness import MEASURED as HARDNESS
from detectors.hardness import POOLED, Hardness
from detectors.indexes import EmbeddingIndex, FingerprintIndex
from detectors.observation import Observation
from detectors.parties import Parties
from detectors.profile import Profile
from detectors.provenance import ALONE, MEASURED, SPREAD, VIEWED, Provenance, Told
from detectors.rows import RecentRows
from detectors.search import SearchProgress

DETECTORS: Mapping[str, tuple[Technique, ...]] = {
    "query_provenance": (Technique.EVASION,),
    "pooled_provenance": (Technique.EVASION,),
    "distance_distribution": (Technique.EXTRACTION,),
    "hardness": (Technique.EXTRACTION,),
    "extraction_monitor": (Technique.EXTRACTION,),
    "search_progress": (Technique.EVASION, Technique.MEMBERSHIP, Technique.INVERSION),
}
"""The built-in ones, with what their readings speak for."""
BUDGET = "extraction_monitor.budget"
STATISTICS = (
    *(
        f"{detector}.{kind}{what}"
        for detector in ("query_provenance", "pooled_provenance")
        for kind in (ALONE, SPREAD)
        for what in (*MEASURED[kind], *VIEWED[kind])
    ),
    *(f"search_progress.{what}" for what in ("climb", "fall", "neighbourhoods")),
    *(f"hardness.{kind}{what}" for kind in ("", POOLED) for what in HARDNESS),
    "distance_distribution.non_normality",
    BUDGET,
)
"""What the built-in detectors read."""


class Engine:
    """All detectors of one model. Not for several threads at once.

    Args:
        profile: the model's.
        own: detectors of the operator's.
        off: names of built-in detectors that are not wanted.
        told: of each component that is read; for calibration.
        failed: told of a detector that raised, and of the error; it is left out from then on.

    Attributes:
        left_out: names of detectors that raised.
    """

    def __init__(
        self,
        profile: Profile,
        own: Sequence[Detector] = (),
        off: Collection[str] = (),
        told: Told | None = None,
        failed: Callable[[str, Exception], None] | None = None,
    ) -> None:
        self._profile = profile
        self._detectors: list[Detector] = [each for each in _built_in(profile, told) if each.name not in off]
        self._detectors += own
        self._failed = failed
        self.left_out: tuple[str, ...] = ()

    def readings(self, batch: Sequence[Observation]) -> Iterator[Reading]:
        """What all detectors read off a batch, unjudged."""
        for detector in tuple(self._detectors):
            try:
                yield from tuple(detector.see(batch))
            except Exception as error:
                if self._failed is None:
                    raise
                self._detectors.remove(detector)
                self.left_out += (detector.name,)
                self._failed(detector.name, error)

    def see(self, batch: Sequence[Observation]) -> list[Finding]:
        """What in a batch is unusual."""
        found = (self._profile.judge(reading) for reading in self.readings(batch))
        return [finding for finding in found if finding is not None]

    def fidelity(self, caller: str) -> float | None:
        """How far a copy of the model made by a caller would have come; None if that is not followed."""
        subject = Subject("caller", caller)
        found = (each.fidelity(subject) for each in self._detectors if isinstance(each, ExtractionMonitor))
        return next(found, None)

    def stats(self) -> Mapping[str, DetectorStats]:
        """Of each detector, by name."""
        return {detector.name: detector.stats() for detector in self._detectors}


def _built_in(profile: Profile, told: Told | None) -> Iterator[Detector]:
    recent = RecentRows()
    parties = Parties(recent)
    seed = int.from_bytes(blake2b(b"tables", key=profile.salt[:64], digest_size=8).digest(), "little")
    pooled = Graph(EmbeddingIndex(recent, profile.radius, np.random.default_rng(seed)), recent, "pooled-")
    queries = Graph(FingerprintIndex(recent, profile.shared), recent, "query-")
    radius = float(profile.radius(np.array([256]))[0])
    for name, graph in (("query_provenance", queries), ("pooled_provenance", pooled)):
        yield Provenance(name, graph, recent, profile.novelty, radius, told)
    yield SearchProgress(recent, pooled, parties, radius)
    yield DistanceDistribution(recent, parties)
    yield Hardness(recent, parties, pooled, profile.benign)
    budget = profile.tails.get(BUDGET)
    yield ExtractionMonitor(recent, parties, pooled, 2**budget.usual if budget is not None and budget.points else 256)
