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
        key: of what an engine depends on; under the same one it stays.
    """

    settings: Settings
    profile: Profile
    key: tuple[Any, ...]


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


class Observed(NamedTuple):
    """Observations of calls of one model: their rows, themselves as bytes, and rows that became none, by reason."""

    rows: int
    encoded: bytes
    lost: Mapping[str, int]


class Seen(NamedTuple):
    """What came of one entry: findings, seconds that it took; whether it was damaged, or else what went wrong."""

    findings: Sequence[Finding]
    seconds: float
    damaged: str = ""
    problem: str = ""


@dataclass(slots=True)
class _Model:
    recipe: Recipe
    extractor: Extractor
    engine: Engine
    history: History
    failures: list[tuple[str, str]]
    looked: float = 0.0

    def status(self) -> Status:
        failures = tuple(self.failures)
        self.failures.clear()
        return Status(self.engine.stats(), self.engine.left_out, self.history.evicted, failures)


class Engines:
    """All watched models. Methods take and return what can be pickled."""

    def __init__(self) -> None:
        self._models: dict[str, _Model] = {}

    def configure(self, recipes: Mapping[str, Recipe]) -> dict[str, Status]:
        """Takes the watched models. Engines stay as far as what they were made from does."""
        self._models = {name: _made(self._models.get(name), recipe) for name, recipe in recipes.items()}
        return {name: model.status() for name, model in self._models.items()}

    def observe(self, sightings: Iterable[Sighting]) -> dict[str, Observed]:
        """Works out what detectors see of calls."""
        by_model: dict[str, list[Sighting]] = {}
        for sighting in sightings:
            by_model.setdefault(sighting.model, []).append(sighting)
        return {name: self._observe(self._models[name], own) for name, own in by_model.items() if name in self._models}

    def see(self, entries: Iterable[tuple[str, bytes]]) -> tuple[list[Seen], dict[str, Status]]:
        """Shows the detectors what is next: the model's name, and observations as bytes."""
        seen, names = [], set()
        for name, content in entries:
            seen.append(self._see(name, content))
            names.add(name)
        return seen, {name: self._models[name].status() for name in names}

    def history(self, caller: str) -> dict[str, dict[str, Any]]:
        """By model: how near a caller's rows were, and how far a copy of its making would have come."""
        found = ((name, model.history.show(caller)) for name, model in self._models.items())
        return {name: shown for name, shown in found if shown is not None}

    def _observe(self, model: _Model, sightings: Sequence[Sighting]) -> Observed:
        started = time.perf_counter()
        lost: Counter[str] = Counter()
        found = observations(
            sightings, model.extractor, model.recipe.settings, lambda reason, rows: lost.update({reason: rows})
        )
        made = Observed(sum(each.rows for each in found), encode(found) if found else b"", lost)
        model.looked += time.perf_counter() - started
        return made

    def _see(self, name: str, content: bytes) -> Seen:
        model = self._models[name]
        started, looked = time.perf_counter(), model.looked
        model.looked = 0.0

        def seen(findings: Sequence[Finding] = (), damaged: str = "", problem: str = "") -> Seen:
            return Seen(findings, looked + time.perf_counter() - started, damaged, problem)

        try:
            batch = decode(content, name)
            findings = model.engine.see(batch)
            model.history.take(batch, _found_callers(findings))
            return seen(findings)
        except UndecodableError as error:
            return seen(damaged=str(error))
        except Exception:
            return seen(problem=traceback.format_exc(limit=-3))


def _made(old: _Model | None, recipe: Recipe) -> _Model:
    if old is not None and old.recipe.key == recipe.key:
        old.recipe = recipe
        return old
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
