"""What was captured, what was not and why, and what became of the files."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry

from proxy.metrics.catalogue import counter, gauge
from proxy.metrics.labels import label_value

DROPPED = ("cap", "verdict_cap", "queue", "disk", "room", "size", "error")
FILED = ("finished", "recovered", "deleted", "uploaded")


class CaptureMetrics:
    """The instruments of capture. Called from several threads.

    Args:
        registry: where they are registered.
        queued: bytes of calls that wait to be written.
    """

    def __init__(self, registry: CollectorRegistry, queued: Callable[[], int]) -> None:
        self._calls = counter("tensorwall_captured_calls", registry)
        self._rows = counter("tensorwall_captured_rows", registry)
        self._bytes = counter("tensorwall_captured_bytes", registry)
        self._dropped = counter("tensorwall_capture_dropped_calls", registry)
        self._files = counter("tensorwall_capture_files", registry)
        self._failures = counter("tensorwall_capture_upload_failures", registry)
        self._failing = gauge("tensorwall_capture_failing", registry)
        self._disk = gauge("tensorwall_capture_disk_bytes", registry)
        self._live = counter("tensorwall_live_rows", registry)
        gauge("tensorwall_capture_queue_bytes", registry).set_function(queued)
        for outcome in FILED:
            self._files.labels(outcome)

    def captures(self, model: str) -> None:
        """A model is captured: its counts begin at 0."""
        name = label_value(model)
        self._calls.labels(name)
        for reason in DROPPED:
            self._dropped.labels(name, reason)

    def written(self, model: str, rows: int, marked: bool, size: int) -> None:
        """Counts a call that was written."""
        name = label_value(model)
        self._calls.labels(name).inc()
        self._rows.labels(name, "yes" if marked else "no").inc(rows)
        self._bytes.labels(name).inc(size)

    def dropped(self, model: str, reason: str) -> None:
        """Counts a call that was not, for one of DROPPED."""
        self._dropped.labels(label_value(model), reason).inc()

    def filed(self, outcome: str) -> None:
        """Counts a file, for one of FILED."""
        self._files.labels(outcome).inc()

    def failing(self, failing: bool) -> None:
        """Notes that capture cannot write, or can again."""
        self._failing.set(failing)

    def upload_failed(self) -> None:
        """Counts a failed upload."""
        self._failures.inc()

    def kept(self, size: int) -> None:
        """Notes the bytes of all files."""
        self._disk.set(size)

    def live(self, model: str, outcome: str, rows: int) -> None:
        """Counts rows in a live window: `sent`, `dropped` or `unread`."""
        self._live.labels(label_value(model), outcome).inc(rows)
