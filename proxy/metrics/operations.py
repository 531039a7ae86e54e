"""What operators and their tools did, and what came of events. No operator and no caller is ever a label."""

from collections.abc import Iterator, Mapping
from typing import Protocol

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from proxy.metrics.catalogue import CATALOGUE, counter


class Source(Protocol):
    """What is read when metrics are scraped."""

    def decisions(self) -> Mapping[str, int]:
        """Decisions that stand, by kind: `block` and `immunise`."""

    def open(self) -> Mapping[str, int]:
        """What is open: `sessions` and `streams`."""

    def waiting(self) -> Mapping[str, int]:
        """Events that wait, by outlet."""

    def dropped(self) -> Mapping[str, int]:
        """What was forgotten to stay within a bound, by what it is."""


class OperationMetrics:
    """The instruments.

    Args:
        registry: where they are registered.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry
        self._events = counter("tensorwall_events", registry)
        self._deliveries = counter("tensorwall_event_deliveries", registry)

    def read(self, source: Source) -> None:
        """Says where to read the rest when metrics are scraped."""
        self._registry.register(_OperationCollector(source))

    def happened(self, name: str, event: str) -> None:
        """Counts an event by its name; its id is the exemplar, which an OpenMetrics scrape has."""
        self._events.labels(name).inc(1, {"event_id": event})

    def delivered(self, outlet: str, outcome: str, count: int) -> None:
        """Counts events or alerts that an outlet delivered, failed to, or lost."""
        self._deliveries.labels(outlet, outcome).inc(count)


class _OperationCollector(Collector):
    def __init__(self, source: Source) -> None:
        self._source = source

    def describe(self) -> Iterator[Metric]:
        """Nothing: names are checked against the catalogue by a test."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        """The families."""
        yield _family(GaugeMetricFamily, "tensorwall_decisions", self._source.decisions())
        yield _family(GaugeMetricFamily, "tensorwall_admin_open", self._source.open())
        yield _family(GaugeMetricFamily, "tensorwall_events_waiting", self._source.waiting())
        yield _family(CounterMetricFamily, "tensorwall_admin_dropped", self._source.dropped())


def _family(
    kind: type[GaugeMetricFamily] | type[CounterMetricFamily], name: str, values: Mapping[str, int]
) -> GaugeMetricFamily | CounterMetricFamily:
    family = kind(name, CATALOGUE[name][1], labels=CATALOGUE[name][2])
    for label, value in sorted(values.items()):
        family.add_metric([label], value)
    return family
