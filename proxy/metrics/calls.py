"""What the proxy counts of calls, upstreams and itself.

Two of TensorFlow Serving's own holes are closed here: a model's name comes into a label only if it is configured or the
upstream has answered for it, and prometheus-client escapes newlines.
"""

import time
from collections.abc import Iterable, Mapping

from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector

from proxy.codec import METHODS
from proxy.metrics.catalogue import FILE_KINDS, REFUSAL_REASONS, RETRY_OUTCOMES, ROW_OUTCOMES, counter, gauge, histogram
from proxy.metrics.labels import OTHER, ModelLabels, label_value
from proxy.version import VERSION


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

        self._calls = counter("tensorwall_calls", registry)
        self._proxy_seconds = histogram("tensorwall_proxy_seconds", registry)
        self._upstream_seconds = histogram("tensorwall_upstream_seconds", registry)
        self._request_bytes = counter("tensorwall_request_bytes", registry)
        self._reply_bytes = counter("tensorwall_reply_bytes", registry)
        self._rows = counter("tensorwall_rows", registry)
        self._handled = counter("tensorwall_handled_rows", registry)
        self._refusals = counter("tensorwall_refusals", registry)
        self._unparsable = counter("tensorwall_unparsable_requests", registry)
        self._retries = counter("tensorwall_upstream_retries", registry)
        self._target_up = gauge("tensorwall_upstream_up", registry)
        self._ready = gauge("tensorwall_ready", registry)
        self._reloads = counter("tensorwall_config_reloads", registry)
        self._reloadable = gauge("tensorwall_config_last_reload_successful", registry)
        self._loaded = gauge("tensorwall_config_loaded_timestamp_seconds", registry)
        self._config = gauge("tensorwall_config_info", registry)
        self._usable = gauge("tensorwall_file_usable", registry)
        self._expiry = gauge("tensorwall_certificate_expiry_timestamp_seconds", registry)
        self.in_flight = gauge("tensorwall_calls_in_flight", registry)
        self.tasks = gauge("tensorwall_tasks", registry)
        self._dropped = counter("tensorwall_model_labels_dropped", registry)
        gauge("tensorwall_build_info", registry).labels(VERSION).set(1)
        for outcome in RETRY_OUTCOMES:
            self._retries.labels(outcome)
        for result in ("ok", "failed"):
            self._reloads.labels(result)
        for kind in FILE_KINDS:
            self._usable.labels(kind).set(1)
        self._reloadable.set(1)
        self._loaded.set(time.time())
        self._known(models)
        # One look-up a call instead of one a label: the sets are bounded, and so are these.
        self._ends: dict[tuple[str, str, str, str], _End] = {}

    def configure(self, models: Iterable[str], config_hash: str) -> None:
        """Takes the names and the hash of the configuration in force."""
        names = tuple(models)
        self.models.configure(names)
        self._known(names)
        self._config.clear()
        self._config.labels(config_hash).set(1)

    def _known(self, models: Iterable[str]) -> None:
        """Series that are known before the first call are exported as 0, so that their first increase shows."""
        for model in models:
            for outcome in ROW_OUTCOMES:
                self._handled.labels(label_value(model), outcome)
            for reason in REFUSAL_REASONS:
                self._refusals.labels(label_value(model), reason)

    def finished(
        self,
        *,
        model: str,
        method: str,
        code: str,
        outcome: str,
        rows: int,
        request_bytes: int,
        reply_bytes: int,
        proxy_seconds: float,
        upstream_seconds: float,
    ) -> None:
        """Counts one call's end. A model that was answered for is known from then on.

        Args:
            model: as the caller sent it.
            method: full name.
            code: of the status.
            outcome: `admitted` or `coarsened`; what was refused has no rows here.
            rows: examples that were answered.
            request_bytes, reply_bytes: of the messages.
            proxy_seconds, upstream_seconds: that each had it.
        """
        if code == "OK" and model:
            self.models.learn(model)
        dropped = self.models.dropped
        key = self.models.label(model), method.rpartition("/")[2] if method in METHODS else OTHER, code, outcome
        if self.models.dropped != dropped:
            self._dropped.inc()
        end = self._ends.get(key)
        if end is None:
            end = self._ends[key] = _End(self, *key)
        end.calls.inc()
        end.request_bytes.inc(request_bytes)
        end.reply_bytes.inc(reply_bytes)
        end.handled.inc(rows)
        end.rows.inc(rows)
        end.proxy_seconds.observe(proxy_seconds)
        if upstream_seconds:
            end.upstream_seconds.observe(upstream_seconds)

    def refused(self, *, model: str, reason: str, rows: int) -> None:
        """Counts a refusal; `reason` is one of `REFUSAL_REASONS`."""
        name = self.models.label(model)
        self._refusals.labels(name, reason).inc()
        self._handled.labels(name, "limited" if reason in ("limit", "limit_store") else "refused").inc(rows)

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

    def file_usable(self, kind: str, usable: bool) -> None:
        """Notes whether a changed file can be used; one of `FILE_KINDS`."""
        self._usable.labels(kind).set(usable)

    def certificates(self, ends: Mapping[str, float]) -> None:
        """Notes when certificates run out, in seconds since 1970, by what they are for."""
        self._expiry.clear()
        for kind, end in ends.items():
            self._expiry.labels(kind).set(end)

    def reloaded(self, ok: bool) -> None:
        """Counts a configuration taken or refused."""
        self._reloads.labels("ok" if ok else "failed").inc()
        self._reloadable.set(ok)
        if ok:
            self._loaded.set(time.time())


class _End:
    """The children that one kind of call's end is counted in."""

    __slots__ = ("calls", "handled", "proxy_seconds", "reply_bytes", "request_bytes", "rows", "upstream_seconds")

    def __init__(self, metrics: Metrics, model: str, method: str, code: str, outcome: str) -> None:
        self.handled = metrics._handled.labels(model, outcome)
        self.calls = metrics._calls.labels(model, method, code)
        self.proxy_seconds = metrics._proxy_seconds.labels(model, method)
        self.upstream_seconds = metrics._upstream_seconds.labels(model, method)
        self.request_bytes = metrics._request_bytes.labels(model)
        self.reply_bytes = metrics._reply_bytes.labels(model)
        self.rows = metrics._rows.labels(model, method)
