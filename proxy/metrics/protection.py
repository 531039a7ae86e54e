"""What a model's defenses did, counted alike in shadow and in force. All labels are names from the configuration."""

from collections.abc import Iterable
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Histogram

from proxy.metrics.catalogue import DISTANCES, counter, gauge, histogram
from proxy.metrics.labels import label_value


class ProtectionMetrics:
    """The instruments of inputs, answers, squeezing and purifiers.

    Args:
        registry: where they are registered.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._input_rows = counter("tensorwall_input_rows", registry)
        self._input_refusals = counter("tensorwall_input_refusals", registry)
        self._answer_rows = counter("tensorwall_answer_rows", registry)
        self._answer_mismatches = counter("tensorwall_answer_mismatches", registry)
        self._seconds = histogram("tensorwall_defense_seconds", registry)
        self._purifier_calls = counter("tensorwall_purifier_calls", registry)
        self._disagreement = histogram("tensorwall_squeezing_disagreement", registry, DISTANCES)
        self._squeezing_rows = counter("tensorwall_squeezing_rows", registry)
        self._squeezing_skipped = counter("tensorwall_squeezing_skipped", registry)
        # One look-up a call instead of one a label: the sets are bounded, and so are these.
        self._children: dict[tuple[Any, ...], Any] = {}
        self._problems = gauge("tensorwall_protection_problems", registry)

    def input_rows(self, model: str, name: str, mode: str, rows: int, changed: int) -> None:
        """Counts rows that an input's rule saw, and those that it changed or would have changed."""
        self._child(self._input_rows, model, name, mode, "changed").inc(changed)
        self._child(self._input_rows, model, name, mode, "unchanged").inc(rows - changed)

    def input_refused(self, model: str, name: str, mode: str) -> None:
        """Counts a call that an input's rule refused or would have refused."""
        self._input_refusals.labels(label_value(model), label_value(name), mode).inc()

    def answer_rows(self, model: str, name: str, mode: str, rows: int, changed: int) -> None:
        """Counts rows that an output's rule saw, and those that it changed or would have changed."""
        self._child(self._answer_rows, model, name, mode, "changed").inc(changed)
        self._child(self._answer_rows, model, name, mode, "unchanged").inc(rows - changed)

    def answer_mismatch(self, model: str, name: str, mode: str) -> None:
        """Counts a reply that an output's rule does not fit."""
        self._answer_mismatches.labels(label_value(model), label_value(name), mode).inc()

    def took(self, model: str, stage: str, seconds: float) -> None:
        """Notes the time that a stage of one call took: `sanitize` or `shield`."""
        self._child(self._seconds, model, stage).observe(seconds)

    def purified(self, model: str, outcome: str) -> None:
        """Counts a call of a purifier: `ok`, `passed` or `refused`."""
        self._purifier_calls.labels(label_value(model), outcome).inc()

    def scored(self, model: str, mode: str, scores: Iterable[float], above: int) -> None:
        """Notes the squeezing scores of a call's rows, and how many are above the threshold."""
        name = label_value(model)
        rows = 0
        for score in scores:
            self._disagreement.labels(name).observe(score)
            rows += 1
        self._squeezing_rows.labels(name, mode, "above").inc(above)
        self._squeezing_rows.labels(name, mode, "within").inc(rows - above)

    def not_scored(self, model: str, reason: str) -> None:
        """Counts a call without a score: `input`, `output`, `reply`, `size` or `upstream` stood against it."""
        self._squeezing_skipped.labels(label_value(model), reason).inc()

    def problems(self, model: str, count: int) -> None:
        """Notes how many contradictions there are between a model's rules and its signatures."""
        self._problems.labels(label_value(model)).set(count)

    def _child(self, instrument: Counter | Histogram, *names: str) -> Any:
        child = self._children.get((instrument, *names))
        if child is None:
            child = self._children[instrument, *names] = instrument.labels(*map(label_value, names))
        return child

    def forget_problems(self) -> None:
        """Drops those of an earlier configuration."""
        self._problems.clear()
