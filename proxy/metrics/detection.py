"""What the detectors saw and found, and what verdicts did. No caller is ever a label."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from itertools import product
from typing import Protocol, get_args

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from detectors.detector import DetectorStats
from detectors.engine import DETECTORS
from detectors.findings import Finding, SubjectKind, Technique
from proxy.config.detection import STEPS
from proxy.config.detection import Detection as Settings
from proxy.metrics.catalogue import (
    CATALOGUE,
    SURPRISE,
    UNOBSERVED_REASONS,
    VERDICT_ACTIONS,
    counter,
    gauge,
    histogram,
)
from proxy.metrics.labels import label_value
from proxy.policy.verdict import Verdict


class _Status(Protocol):
    @property
    def stats(self) -> Mapping[str, DetectorStats]: ...
    @property
    def left_out(self) -> tuple[str, ...]: ...


class _Engine(Protocol):
    @property
    def status(self) -> _Status: ...


class _Watched(Protocol):
    @property
    def settings(self) -> Settings: ...
    @property
    def engine(self) -> _Engine: ...


class Source(Protocol):
    """What is read when metrics are scraped."""

    @property
    def queued_rows(self) -> int:
        """Rows that wait for the detectors."""

    @property
    def watched(self) -> Mapping[str, _Watched]:
        """The watched models."""

    @property
    def process_id(self) -> int | None:
        """Of the detectors' process, while there is one."""

    def standing_verdicts(self) -> list[Verdict]:
        """All verdicts that stand."""

    @property
    def evicted(self) -> int:
        """Verdicts that were forgotten before their time."""


class DetectionMetrics:
    """The instruments of detection and policy.

    Args:
        registry: where they are registered.
        event_of: id of the event that told of a verdict, by the verdict's id; empty if none did.
    """

    def __init__(self, registry: CollectorRegistry, event_of: Callable[[str], str] = lambda _: "") -> None:
        self._registry = registry
        self._event_of = event_of
        self._observed = counter("tensorwall_observed_rows", registry)
        self._unobserved = counter("tensorwall_unobserved_rows", registry)
        self._look_seconds = histogram("tensorwall_observation_seconds", registry)
        self._detect_seconds = histogram("tensorwall_detection_seconds", registry)
        self._surprise = histogram("tensorwall_detection_surprise", registry, SURPRISE)
        self._failures = counter("tensorwall_detector_failures", registry)
        self._ends = counter("tensorwall_detection_restarts", registry)
        self._attacks = counter("tensorwall_attacks", registry)
        self._last_attacks: dict[tuple[str, str], float] = {}
        self._acted = counter("tensorwall_verdict_calls", registry)
        self._echoed = counter("tensorwall_verdict_rows", registry)
        self._shared = counter("tensorwall_shared_rows", registry)
        self._unshared = counter("tensorwall_unshared_rows", registry)
        self._log_up = gauge("tensorwall_observation_log_up", registry)
        self._log_seconds = histogram("tensorwall_observation_log_seconds", registry)
        self._log_lag = gauge("tensorwall_observation_log_lag_rows", registry)
        self._log_up.set(1)
        self._learned = gauge("tensorwall_profile_learned", registry)
        self._profile = gauge("tensorwall_profile_info", registry)

    def read(self, source: Source) -> None:
        """Says where to read the rest when metrics are scraped."""
        self._registry.register(_DetectionCollector(source, self._last_attacks))

    def configure(self, models: Mapping[str, Settings], profiles: Mapping[str, str]) -> None:
        """Takes the watched models: what is known of them is exported as 0, so that its first increase shows.

        Args:
            models: their settings.
            profiles: digests of the profiles in force.
        """
        self._learned.clear()
        self._profile.clear()
        for model, settings in models.items():
            name = label_value(model)
            self._learned.labels(name, settings.mode).set(settings.learned is not None)
            self._profile.labels(name, profiles[model]).set(1)
            self._observed.labels(name)
            self._echoed.labels(name)
            for reason in UNOBSERVED_REASONS:
                self._unobserved.labels(name, reason)
            for action in VERDICT_ACTIONS:
                self._acted.labels(name, action)
            for technique in Technique:
                self._last_attacks.setdefault((name, technique.value), 0.0)
            for labels in _known(name, settings):
                self._attacks.labels(*labels)
            for detector in DETECTORS.keys() - settings.off:
                self._failures.labels(name, detector)
                for technique in DETECTORS[detector]:
                    self._surprise.labels(name, detector, technique.value)

    def saw(self, model: str, rows: int, seconds: float, source: str = "own") -> None:
        """Notes a batch that the detectors saw: this process's `own`, that of an `other`, or one of the `past`."""
        self._observed.labels(label_value(model)).inc(rows)
        if source != "own":
            self._shared.labels(label_value(model), source).inc(rows)
        self._detect_seconds.labels(label_value(model)).observe(seconds)

    def lost(self, model: str, reason: str, rows: int) -> None:
        """Counts rows that they do not see.

        Args:
            model: its name.
            reason: `queue`, `request`, `reply`, `rows` (too many in one call), `process` (the detectors' process ended
                or failed while it had them); or of the rows of other proxies
                `trimmed` (the log had forgotten them), `profile` (another one, or another secret), `entry` (damaged).
            rows: how many.
        """
        self._unobserved.labels(label_value(model), reason).inc(rows)

    def unshared(self, model: str, rows: int) -> None:
        """Counts rows that other proxies do not get to see, since the store was away for too long."""
        self._unshared.labels(label_value(model)).inc(rows)

    def behind(self, model: str, rows: int) -> None:
        """Notes how many rows of the shared log are still to be read."""
        self._log_lag.labels(label_value(model)).set(rows)

    def log_up(self, up: bool) -> None:
        """Notes that the shared log went away or is back."""
        self._log_up.set(up)

    def log_took(self, seconds: float) -> None:
        """Notes the time of a step of the shared log."""
        self._log_seconds.observe(seconds)

    def looked(self, model: str, seconds: float) -> None:
        """Notes the time that a call spent in being observed."""
        self._look_seconds.labels(label_value(model)).observe(seconds)

    def found(self, model: str, finding: Finding) -> None:
        """Notes how unusual a finding is."""
        reading = finding.reading
        labels = label_value(model), label_value(reading.detector), reading.technique.value
        self._surprise.labels(*labels).observe(finding.surprise)

    def failed(self, model: str, detector: str) -> None:
        """Counts a detector that raised."""
        self._failures.labels(label_value(model), label_value(detector)).inc()

    def ended(self) -> None:
        """Counts an end of the detectors' process that nobody asked for."""
        self._ends.inc()

    def reached(self, verdict: Verdict, now: float) -> None:
        """Counts a verdict that reached a step; exemplars, which an OpenMetrics scrape has, name it and its event."""
        exemplar = {"event_id": self._event_of(verdict.id), "verdict_id": verdict.id}
        self._attacks.labels(*_labels(verdict)).inc(1, exemplar)
        self._last_attacks[label_value(verdict.model), verdict.technique.value] = now

    def acted(self, model: str, action: str) -> None:
        """Counts a call that was `refused`, `slowed`, `echoed` or `coarsened`."""
        self._acted.labels(label_value(model), action).inc()

    def echoed(self, model: str, rows: int) -> None:
        """Counts rows that were answered like an earlier near row."""
        self._echoed.labels(label_value(model)).inc(rows)


class _DetectionCollector(Collector):
    """Reads queue, detectors and verdicts when they are scraped."""

    def __init__(self, source: Source, last_attacks: dict[tuple[str, str], float]) -> None:
        self._source = source
        self._last_attacks = last_attacks

    def describe(self) -> Iterator[Metric]:
        """Nothing: names are checked against the catalogue by a test."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        """The families."""
        queued = _gauge("tensorwall_observation_queue_rows")
        queued.add_metric([], self._source.queued_rows)
        yield queued
        yield from _process(self._source.process_id)
        tracked, dropped, working = (
            _gauge("tensorwall_detector_tracked"),
            _counter("tensorwall_detector_dropped"),
            _gauge("tensorwall_detector_up"),
        )
        progress = _gauge("tensorwall_extraction_progress")
        for model, watched in dict(self._source.watched).items():
            name, highest = label_value(model), 0.0
            status = watched.engine.status
            for detector, stats in status.stats.items():
                shown = label_value(detector)
                for kind, count in stats.tracked.items():
                    tracked.add_metric([name, shown, kind], count)
                for kind, count in stats.dropped.items():
                    dropped.add_metric([name, shown, kind], count)
                working.add_metric([name, shown], 1)
                highest = max(highest, stats.gauges.get("extraction_progress", 0.0))
            for detector in status.left_out:
                working.add_metric([name, label_value(detector)], 0)
            progress.add_metric([name], highest)
        evicted = _counter("tensorwall_verdicts_evicted")
        evicted.add_metric([], self._source.evicted)
        verdicts = self._source.standing_verdicts()
        yield from (tracked, dropped, working, progress, evicted)
        yield from (self._verdicts(verdicts), self._callers(verdicts), self._last_attack(verdicts))

    def _verdicts(self, verdicts: list[Verdict]) -> GaugeMetricFamily:
        counts = Counter(_labels(verdict) for verdict in verdicts)
        for model, watched in self._source.watched.items():
            counts.update(dict.fromkeys(_known(label_value(model), watched.settings), 0))
        return _filled("tensorwall_verdicts", counts)

    def _last_attack(self, verdicts: list[Verdict]) -> GaugeMetricFamily:
        """An attack that stays on its step goes on for as long as there is evidence."""
        for verdict in verdicts:
            key = label_value(verdict.model), verdict.technique.value
            self._last_attacks[key] = max(self._last_attacks.get(key, 0.0), verdict.updated)
        family = _gauge("tensorwall_last_attack_timestamp_seconds")
        for labels, moment in sorted(self._last_attacks.items()):
            family.add_metric(labels, moment)
        return family

    def _callers(self, verdicts: list[Verdict]) -> GaugeMetricFamily:
        """A caller may be under verdicts for several techniques; it counts once, where it stands hardest."""
        hardest: dict[tuple[str, str], Verdict] = {}
        for verdict in verdicts:
            if verdict.subject.kind == "caller":
                key = verdict.model, verdict.subject.id
                hardest[key] = max(
                    hardest.get(key, verdict), verdict, key=lambda each: STEPS.index(each.step or "observe")
                )
        counts: Counter[tuple[str, ...]] = Counter(
            (label_value(each.model), each.step or "observe", each.mode) for each in hardest.values()
        )
        for model, watched in self._source.watched.items():
            for step in STEPS:
                counts.update({(label_value(model), step, mode): 0 for mode in _modes(watched.settings)})
        return _filled("tensorwall_callers", counts)


def _process(pid: int | None) -> Iterator[Metric]:
    """What a process takes, where /proc says it."""
    found = (
        {} if pid is None else {each.name: each for each in ProcessCollector("", lambda: pid, registry=None).collect()}
    )
    memory, cpu = _gauge("tensorwall_detection_memory_bytes"), _counter("tensorwall_detection_cpu_seconds")
    if "process_resident_memory_bytes" in found:
        memory.add_metric([], found["process_resident_memory_bytes"].samples[0].value)
        cpu.add_metric([], found["process_cpu_seconds"].samples[0].value)
    yield from (memory, cpu)


_SUBJECTS: tuple[SubjectKind, ...] = get_args(SubjectKind)


def _known(name: str, settings: Settings) -> Iterator[tuple[str, ...]]:
    """The labels of all verdicts that these settings can lead to."""
    for technique in Technique:
        steps = [each.step for each in settings.policy.of(technique).ladder]
        for subject, step, mode in product(_SUBJECTS, steps, _modes(settings)):
            yield name, technique.value, subject, step, mode


def _modes(settings: Settings) -> tuple[str, ...]:
    """Where it is enforced, immune callers are in shadow all the same."""
    return ("enforce", "shadow") if settings.mode == "enforce" and settings.learned is not None else ("shadow",)


def _filled(name: str, counts: Mapping[tuple[str, ...], int]) -> GaugeMetricFamily:
    family = _gauge(name)
    for labels, count in sorted(counts.items()):
        family.add_metric(labels, count)
    return family


def _labels(verdict: Verdict) -> tuple[str, ...]:
    step = verdict.step or "none"
    return label_value(verdict.model), verdict.technique.value, verdict.subject.kind, step, verdict.mode


def _gauge(name: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, CATALOGUE[name][1], labels=CATALOGUE[name][2])


def _counter(name: str) -> CounterMetricFamily:
    return CounterMetricFamily(name, CATALOGUE[name][1], labels=CATALOGUE[name][2])
