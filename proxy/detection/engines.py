"""What the detectors' process holds: of each watched model the extractor, the engine and the history of callers.

Plain and synchronous: `process` has it run apart from the proxy and passes on what it is asked and what it answers.
"""

import time
import traceback
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from detectors.detector import Detector, DetectorStats
from detectors.engine import Engine
from detectors.features import Extractor
from detectors.findings import Finding
from detectors.observation import Observation
from detectors.profile import Profile
from proxy.config.detection import Detection as Settings
from proxy.detection.history import History
from proxy.detection.sightings import Sighting, observations
from proxy.detection.wire import UndecodableError, decode, encode


class Recipe(NamedTuple):
    """What a model's detectors are made from.

    Attributes:
        settings: of its detection.
        profile: what is usual.
        number: of the engine; under the same one it stays, and only settings change.
    """

    settings: Settings
    profile: Profile
    number: int


@dataclass(frozen=True, slots=True)
class Status:
    """How a model's detectors are.

    Attributes:
        stats: of each, by name.
        left_out: names of those that raised.
        forgotten: callers whose history was forgotten.
        failures: detectors that raised since the last time, each with what it raised.
    """

    stats: Mapping[str, DetectorStats] = field(default_factory=dict)
    left_out: tuple[str, ...] = ()
    forgotten: int = 0
    failures: tuple[tuple[str, str], ...] = ()


class Seen(NamedTuple):
    """What came of observations: findings, seconds that it took; if they were damaged, or what went wrong.

    `failed` says that a detector raised: `Engines.status` has it.
    """

    findings: Sequence[Finding]
    seconds: float
    damaged: str = ""
    problem: str = ""
    failed: bool = False


class Observed(NamedTuple):
    """Observations of calls of one model.

    Attributes:
        rows: of them.
        lost: rows that became none, by reason.
        encoded: themselves (`wire`), if others are to see them; empty if there are none.
        seen: what came of them, if the detectors saw them at once.
        problem: a defect of ours that a call has brought out; its rows are among the lost.
    """

    rows: int
    lost: Mapping[str, int]
    encoded: bytes = b""
    seen: Seen | None = None
    problem: str = ""


@dataclass(slots=True)
class _Model:
    recipe: Recipe
    extractor: Extractor
    engine: Engine
    history: History
    failures: list[tuple[str, str]]
    looked: float = 0.0

    def observe(self, sightings: Sequence[Sighting], own: bool) -> Observed:
        started = time.perf_counter()
        lost: Counter[str] = Counter()
        problem = ""
        try:
            found = self._observations(sightings, lost)
        except Exception:  # by one call, which must not hide those beside it
            problem = traceback.format_exc(limit=-3)
            lost.clear()
            found = []
            for each in sightings:
                try:
                    found += self._observations([each], lost)
                except Exception:
                    lost["request"] += max(1, each.rows)
        encoded = encode(found) if found and not own else b""
        self.looked += time.perf_counter() - started
        rows = sum(each.rows for each in found)
        return Observed(rows, dict(lost), encoded, self.see(found) if found and own else None, problem)

    def _observations(self, sightings: Sequence[Sighting], lost: Counter[str]) -> list[Observation]:
        return observations(
            sightings, self.extractor, self.recipe.settings, lambda reason, rows: lost.update({reason: rows})
        )

    def see(self, batch: Sequence[Observation]) -> Seen:
        started, looked = time.perf_counter(), self.looked
        self.looked = 0.0
        findings: Sequence[Finding] = ()
        problem = ""
        try:
            findings = self.engine.see(batch)
            self.history.take(batch, _found_callers(findings))
        except Exception:
            problem = traceback.format_exc(limit=-3)
        return Seen(findings, looked + time.perf_counter() - started, problem=problem, failed=bool(self.failures))

    def status(self) -> Status:
        failures = tuple(self.failures)
        self.failures.clear()
        return Status(self.engine.stats(), self.engine.left_out, self.history.evicted, failures)


class Engines:
    """All watched models. Methods take and return what can be pickled."""

    def __init__(self) -> None:
        self._models: dict[str, _Model] = {}

    def take(self, name: str, recipe: Recipe) -> None:
        """Takes a watched model. Its engine stays if its number does."""
        old = self._models.get(name)
        if old is not None and old.recipe.number == recipe.number:
            old.recipe = recipe
        else:
            self._models[name] = _made(recipe)

    def keep(self, names: Iterable[str]) -> None:
        """Forgets all other models."""
        self._models = {name: self._models[name] for name in names}

    def observe(self, sightings: Iterable[Sighting], own: bool) -> dict[str, Observed]:
        """Works out what detectors see of calls, by model.

        Args:
            sightings: of watched models.
            own: nobody else is to see them, so that the detectors see them at once.
        """
        by_model: dict[str, list[Sighting]] = {}
        for sighting in sightings:
            by_model.setdefault(sighting.model, []).append(sighting)
        return {name: self._models[name].observe(mine, own) for name, mine in by_model.items()}

    def see(self, entries: Iterable[tuple[str, bytes]]) -> list[Seen]:
        """Shows the detectors what is next: the model's name, and observations (`wire`)."""
        seen = []
        for name, content in entries:
            try:
                seen.append(self._models[name].see(decode(content, name)))
            except UndecodableError as error:
                seen.append(Seen((), 0.0, damaged=str(error)))
        return seen

    def status(self) -> dict[str, Status]:
        """Of all models."""
        return {name: model.status() for name, model in self._models.items()}

    def history(self, caller: str) -> dict[str, dict[str, Any]]:
        """By model: how near a caller's rows were, and how far a copy of its making would have come."""
        found = ((name, model.history.show(caller)) for name, model in self._models.items())
        return {name: shown for name, shown in found if shown is not None}


def _made(recipe: Recipe) -> _Model:
    failures: list[tuple[str, str]] = []

    def failed(detector: str, error: Exception) -> None:
        failures.append((detector, repr(error)))

    profile, own = recipe.profile, list(_own(recipe.settings, failures))
    engine = Engine(profile, own, recipe.settings.off, failed=failed)
    extractor = Extractor(profile.salt, profile.scaling)
    return _Model(recipe, extractor, engine, History(profile, engine.fidelity), failures)


def _own(settings: Settings, failures: list[tuple[str, str]]) -> Iterator[Detector]:
    """The operator's own; one that can be made in the proxy and not here is left out."""
    for each in settings.own:
        try:
            yield each.made()
        except Exception as error:
            failures.append((each.path, repr(error)))


def _found_callers(findings: Iterable[Finding]) -> set[str]:
    callers: set[str] = set()
    for finding in findings:
        subject, cluster = finding.reading.subject, finding.reading.cluster
        callers |= {subject.id} if subject.kind == "caller" else set(cluster.blamed if cluster is not None else ())
    return callers
