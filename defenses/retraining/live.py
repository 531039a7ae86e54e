"""Whether callers are worse off with a new version, by the proxy's own metrics (Prometheus text)."""

import urllib.error
import urllib.request
from pathlib import Path
from typing import NamedTuple

from defenses.retraining.intervals import wilson

CALLERS_OWN = ("OK", "CANCELLED", "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "UNAUTHENTICATED")
"""Status codes that say nothing about a model."""
LEAST_CALLS = 30
"""Fewer calls than these decide nothing."""
SECONDS = 10.0


class LiveError(Exception):
    """The metrics cannot be had; `str()` says why."""


class Reading(NamedTuple):
    """Counters of a model since its proxy started.

    Attributes:
        calls: that ended.
        failed: of these, by a fault of the model, its server, or what it takes.
        seconds, answered: sum of the model server's latencies, and of how many.
    """

    calls: float
    failed: float
    seconds: float
    answered: float

    def since(self, before: "Reading") -> "Reading":
        """What came on top."""
        return Reading(*(now - then for now, then in zip(self, before, strict=True)))


def read(source: str, model: str, token: str | None = None) -> Reading:
    """A model's counters.

    Args:
        source: http(s)://... of the proxy's admin port, path included, or a file.
        model: the name that it is served as.
        token: of an operator, for a URL that wants one.

    Raises:
        LiveError: there is no such page or file, or it is no Prometheus text.
    """
    from prometheus_client.parser import text_string_to_metric_families

    calls = failed = seconds = answered = 0.0
    try:
        for family in text_string_to_metric_families(_text(source, token)):
            for sample in family.samples:
                if sample.labels.get("model") != model:
                    continue
                if sample.name == "tensorwall_calls_total":
                    calls += sample.value
                    failed += sample.value if sample.labels.get("code") not in CALLERS_OWN else 0
                elif sample.name == "tensorwall_upstream_seconds_sum":
                    seconds += sample.value
                elif sample.name == "tensorwall_upstream_seconds_count":
                    answered += sample.value
    except ValueError as error:
        raise LiveError(f"{source} is no Prometheus text: {error}") from None
    return Reading(calls, failed, seconds, answered)


def _text(source: str, token: str | None) -> str:
    if not source.startswith(("http://", "https://")):
        try:
            return Path(source).read_text()
        except OSError as error:
            raise LiveError(f"{source} cannot be read: {error.strerror}") from None
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    try:
        request = urllib.request.Request(source, headers=headers)  # noqa: S310  # http or https
        with urllib.request.urlopen(request, timeout=SECONDS) as response:  # noqa: S310
            return str(response.read().decode())
    except (OSError, UnicodeDecodeError) as error:
        reason = error.reason if isinstance(error, urllib.error.URLError) else error
        raise LiveError(f"{source} cannot be read: {reason}") from None


def worse(before: Reading, after: Reading, failed_share: float, slower: float) -> list[str]:
    """What callers are worse off in, a sentence each.

    Args:
        before: with the version before.
        after: with the new one, without what came before.
        failed_share: by which the share of failed calls may rise.
        slower: by which factor the model server's mean latency may rise.
    """
    found = []
    if before.calls >= LEAST_CALLS and after.calls >= LEAST_CALLS:
        share = before.failed / before.calls
        now = wilson(round(after.failed), round(after.calls))
        if now.low > share + failed_share:
            found.append(f"{now.value:.1%} of {now.rows} calls failed, and {share:.1%} before.")
    if min(before.answered, after.answered) >= LEAST_CALLS:
        old, new = before.seconds / before.answered, after.seconds / after.answered
        if new > slower * old:
            found.append(f"the model server took {new * 1000:.1f} ms a call, and {old * 1000:.1f} ms before.")
    return found
