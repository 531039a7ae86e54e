"""What limits decided, and how their store is."""

from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry, Counter
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from proxy.limits import Verdict
from proxy.metrics.catalogue import CATALOGUE, counter, gauge, histogram
from proxy.state import StoreStats


class LimitMetrics:
    """The instruments of limits and of their store.

    Args:
        registry: where they are registered.
        model_label: from a model's name to its label, which is bounded.
        stats: the store's own counts; None as long as there is no store.
    """

    def __init__(
        self,
        registry: CollectorRegistry,
        model_label: Callable[[str], str],
        stats: Callable[[], StoreStats | None],
    ) -> None:
        self._model_label = model_label
        self._decisions = counter("tensorwall_limit_decisions", registry)
        # One look-up a decision instead of one a label: the sets are bounded, and so are these.
        self._children: dict[tuple[str, ...], Counter] = {}
        self._up = gauge("tensorwall_store_up", registry)
        self._seconds = histogram("tensorwall_store_seconds", registry)
        self._up.set(1)
        registry.register(_StoreCollector(stats))

    def decided(self, model: str, verdict: Verdict, rows: int) -> None:
        """Counts what each limit said to a call."""
        del rows  # counted when the call ends, with all others
        over = {descriptor.key for descriptor in verdict.over()}
        near = {descriptor.key for descriptor in verdict.near()}
        name = self._model_label(model)
        for descriptor in verdict.descriptors:
            key, limit = descriptor.key, descriptor.limit
            outcome = "over" if key in over else "near" if key in near else "within"
            mode = "enforce" if descriptor.enforced else "shadow"
            labels = limit.name, name, limit.by, mode, outcome
            child = self._children.get(labels)
            if child is None:
                child = self._children[labels] = self._decisions.labels(*labels)
            child.inc()

    def store_up(self, up: bool) -> None:
        """Notes that the shared store went away or is back."""
        self._up.set(up)

    def store_took(self, seconds: float) -> None:
        """Notes the time of a shared store's decision."""
        self._seconds.observe(seconds)


class _StoreCollector(Collector):
    """Reads the store's own counts when they are scraped."""

    def __init__(self, stats: Callable[[], StoreStats | None]) -> None:
        self._stats = stats

    def collect(self) -> Iterator[Metric]:
        stats = self._stats() or StoreStats({}, {})
        yield _family("tensorwall_store_keys", stats.keys)
        yield _family("tensorwall_store_evictions", stats.evictions)
        yield _family("tensorwall_store_fallbacks", stats.fallbacks)
        yield _family("tensorwall_store_leases", {"": stats.leases_held})
        yield _family("tensorwall_store_leases_dropped", {"": stats.leases_dropped})


def _family(name: str, values: object) -> Metric:
    kind, meaning, labels = CATALOGUE[name]
    family: CounterMetricFamily | GaugeMetricFamily
    family = (CounterMetricFamily if kind == "counter" else GaugeMetricFamily)(name, meaning, labels=labels)
    assert isinstance(values, dict)
    for label, value in values.items():
        family.add_metric([label] if labels else [], value)
    return family
