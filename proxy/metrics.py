"""What the proxy counts. Every label has a bounded set of values; docs/metrics.md is this module's catalogue.

Two of TensorFlow Serving's own holes are closed here: a model's name comes into a label only if it is configured or the
upstream has answered for it, and prometheus-client escapes newlines.
"""

import time
from collections.abc import Iterable, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, PlatformCollector, ProcessCollector

from proxy.codec import METHODS
from proxy.logs import printable
from proxy.version import VERSION

OTHER = "other"
MAX_LEARNED_MODELS = 200
MAX_LABEL_CHARS = 128
SECONDS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0)
"""Bucket bounds of all latencies: a tenth of a millisecond to a minute."""

REFUSAL_REASONS = ("identity", "metadata", "method", "overload", "shutdown", "tensor_budget")
RETRY_OUTCOMES = ("retried", "budget_exhausted")

CATALOGUE: Mapping[str, tuple[str, str, tuple[str, ...]]] = {
    "tensorwall_calls": ("counter", "Calls ended, by status code.", ("model", "method", "code")),
    "tensorwall_proxy_seconds": ("histogram", "The proxy's own part of a call's latency.", ("model", "method")),
    "tensorwall_upstream_seconds": ("histogram", "The upstream's part, retries included.", ("model", "method")),
    "tensorwall_request_bytes": ("counter", "Request messages received.", ("model",)),
    "tensorwall_reply_bytes": ("counter", "Reply messages sent.", ("model",)),
    "tensorwall_rows": ("counter", "Examples in requests.", ("model", "method")),
    "tensorwall_calls_in_flight": ("gauge", "Calls being worked on.", ()),
    "tensorwall_refusals": ("counter", "Calls that the proxy itself refused.", ("model", "reason")),
    "tensorwall_unparsable_requests": ("counter", "Requests forwarded although they are no valid message.", ()),
    "tensorwall_upstream_retries": ("counter", "Second tries, and those that the budget forbade.", ("outcome",)),
    "tensorwall_upstream_up": ("gauge", "1 if the target answered its last probe.", ("target",)),
    "tensorwall_ready": ("gauge", "1 if the proxy is ready to serve.", ()),
    "tensorwall_config_reloads": ("counter", "Configurations taken or refused while running.", ("result",)),
    "tensorwall_config_loaded_timestamp_seconds": ("gauge", "When the configuration in force was taken.", ()),
    "tensorwall_model_labels_dropped": ("counter", "Calls whose model is counted under `other`.", ()),
    "tensorwall_build_info": ("gauge", "Always 1; the version is in the label.", ("version",)),
}
"""Type, meaning and labels of every metric; counters get the suffix `_total` when they are exposed."""


class ModelLabels:
    """From a request's model name to a label value: configured, or learned from the upstream, or `other`."""

    def __init__(self, configured: Iterable[str] = ()) -> None:
        self.dropped = 0
        self._learned: dict[str, str] = {}
        self.configure(configured)

    def configure(self, names: Iterable[str]) -> None:
        """Takes the names of a new configuration; what was learned stays."""
        self._configured = {name: _label(name) for name in names}

    def learn(self, name: str) -> None:
        """Remembers a model that the upstream has answered for, as long as there is room."""
        if name not in self._learned and name not in self._configured and len(self._learned) < MAX_LEARNED_MODELS:
            self._learned[name] = _label(name)

    def label(self, name: str) -> str:
        """The label for a name as a caller sent it."""
        found = self._configured.get(name) or self._learned.get(name)
        if found is None:
            self.dropped += 1
            return OTHER
        return found


class Metrics:
    """The instruments, on a registry of their own.

    Args:
        registry: where they are registered.
        models: configured model names.
    """

    def __init__(self, registry: CollectorRegistry, models: Iterable[str] = ()) -> None:
        self.models = ModelLabels(models)
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)

        def counter(name: str) -> Counter:
            return Counter(name, CATALOGUE[name][1], CATALOGUE[name][2], registry=registry)

        def gauge(name: str) -> Gauge:
            return Gauge(name, CATALOGUE[name][1], CATALOGUE[name][2], registry=registry)

        def histogram(name: str) -> Histogram:
            return Histogram(name, CATALOGUE[name][1], CATALOGUE[name][2], registry=registry, buckets=SECONDS)

        self._calls = counter("tensorwall_calls")
        self._proxy_seconds = histogram("tensorwall_proxy_seconds")
        self._upstream_seconds = histogram("tensorwall_upstream_seconds")
        self._request_bytes = counter("tensorwall_request_bytes")
        self._reply_bytes = counter("tensorwall_reply_bytes")
        self._rows = counter("tensorwall_rows")
        self._refusals = counter("tensorwall_refusals")
        self._unparsable = counter("tensorwall_unparsable_requests")
        self._retries = counter("tensorwall_upstream_retries")
        self._target_up = gauge("tensorwall_upstream_up")
        self._ready = gauge("tensorwall_ready")
        self._reloads = counter("tensorwall_config_reloads")
        self._loaded = gauge("tensorwall_config_loaded_timestamp_seconds")
        self.in_flight = gauge("tensorwall_calls_in_flight")
        self._dropped = counter("tensorwall_model_labels_dropped")
        gauge("tensorwall_build_info").labels(VERSION).set(1)
        for outcome in RETRY_OUTCOMES:
            self._retries.labels(outcome)
        for result in ("ok", "failed"):
            self._reloads.labels(result)
        self._loaded.set(time.time())
        # One look-up a call instead of one a label: the sets are bounded, and so are these.
        self._ends: dict[tuple[str, str, str], _End] = {}

    def finished(
        self,
        *,
        model: str,
        method: str,
        code: str,
        rows: int,
        request_bytes: int,
        reply_bytes: int,
        proxy_seconds: float,
        upstream_seconds: float,
    ) -> None:
        """Counts one call's end. A model that was answered for is known from then on."""
        if code == "OK" and model:
            self.models.learn(model)
        dropped = self.models.dropped
        key = self.models.label(model), method.rpartition("/")[2] if method in METHODS else OTHER, code
        if self.models.dropped != dropped:
            self._dropped.inc()
        end = self._ends.get(key)
        if end is None:
            end = self._ends[key] = _End(self, *key)
        end.calls.inc()
        end.request_bytes.inc(request_bytes)
        end.reply_bytes.inc(reply_bytes)
        end.rows.inc(rows)
        end.proxy_seconds.observe(proxy_seconds)
        if upstream_seconds:
            end.upstream_seconds.observe(upstream_seconds)

    def refused(self, *, model: str, reason: str) -> None:
        """Counts a refusal; `reason` is one of `REFUSAL_REASONS`."""
        self._refusals.labels(self.models.label(model), reason).inc()

    def unparsable(self) -> None:
        """Counts a request that is no valid message."""
        self._unparsable.inc()

    def retried(self, outcome: str) -> None:
        """Counts a retry decision; one of `RETRY_OUTCOMES`."""
        self._retries.labels(outcome).inc()

    def target_up(self, target: str, up: bool) -> None:
        """Notes what a target's probe said."""
        self._target_up.labels(target).set(up)

    def forget_targets(self) -> None:
        """Drops the targets of an earlier configuration."""
        self._target_up.clear()

    def ready(self, ready: bool) -> None:
        """Notes whether the proxy is ready."""
        self._ready.set(ready)

    def reloaded(self, ok: bool) -> None:
        """Counts a configuration taken or refused."""
        self._reloads.labels("ok" if ok else "failed").inc()
        if ok:
            self._loaded.set(time.time())


class _End:
    """The children that one kind of call's end is counted in."""

    __slots__ = ("calls", "proxy_seconds", "reply_bytes", "request_bytes", "rows", "upstream_seconds")

    def __init__(self, metrics: Metrics, model: str, method: str, code: str) -> None:
        self.calls = metrics._calls.labels(model, method, code)
        self.proxy_seconds = metrics._proxy_seconds.labels(model, method)
        self.upstream_seconds = metrics._upstream_seconds.labels(model, method)
        self.request_bytes = metrics._request_bytes.labels(model)
        self.reply_bytes = metrics._reply_bytes.labels(model)
        self.rows = metrics._rows.labels(model, method)


def table() -> str:
    """The catalogue as the table of docs/metrics.md."""
    lines = ["| metric | type | labels | meaning |", "|---|---|---|---|"]
    for name, (kind, meaning, labels) in CATALOGUE.items():
        shown = f"{name}_total" if kind == "counter" else name
        lines.append(f"| `{shown}` | {kind} | {', '.join(labels) or '-'} | {meaning} |")
    return "\n".join(lines) + "\n"


def _label(name: str) -> str:
    """A model's name as a label value: printable, bounded, never mistaken for `other`."""
    shown = printable(name)
    if len(shown) > MAX_LABEL_CHARS:
        shown = shown[: MAX_LABEL_CHARS - 1] + "…"
    return f"model:{shown}" if shown == OTHER else shown


if __name__ == "__main__":
    print(table(), end="")  # noqa: T201  # `python -m proxy.metrics` writes the table
