"""Every metric that there is: type, meaning and labels. docs/metrics.md is its table."""

import re
from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics

disable_created_metrics()  # type: ignore[no-untyped-call]  # a fifth more series, of use to nobody

SECONDS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0)
"""Bucket bounds of all latencies: a tenth of a millisecond to a minute."""

DISTANCES = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0, 1.2, 1.4, 1.6, 1.8, 2.0)
"""Bucket bounds of L1 distances between probability vectors."""

SURPRISE = (1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 15.0, 20.0)
"""Bucket bounds of surprise in decades: 3 is one benign caller in a thousand."""

REFUSAL_REASONS = (
    "identity",
    "input",
    "limit",
    "limit_store",
    "metadata",
    "method",
    "output",
    "overload",
    "purifier",
    "shutdown",
    "squeezing",
    "tensor_budget",
    "unparsable",
    "verdict",
)
RETRY_OUTCOMES = ("retried", "budget_exhausted")
ROW_OUTCOMES = ("admitted", "coarsened", "limited", "refused")
"""Each row is one of them. Coarsened: by a step of the ladder, or answered like an earlier near row."""
VERDICT_ACTIONS = ("refused", "slowed", "echoed", "coarsened")
UNOBSERVED_REASONS = ("queue", "request", "reply", "rows", "process")
FILE_KINDS = ("keys", "upstream_tls", "listen_tls", "admin_tls")

CATALOGUE: Mapping[str, tuple[str, str, tuple[str, ...]]] = {
    "tensorwall_calls": ("counter", "Calls ended, by status code.", ("model", "method", "code")),
    "tensorwall_proxy_seconds": ("histogram", "The proxy's own part of a call's latency.", ("model", "method")),
    "tensorwall_upstream_seconds": ("histogram", "The upstream's part, retries included.", ("model", "method")),
    "tensorwall_request_bytes": ("counter", "Request messages received.", ("model",)),
    "tensorwall_reply_bytes": ("counter", "Reply messages sent.", ("model",)),
    "tensorwall_rows": ("counter", "Examples in requests.", ("model", "method")),
    "tensorwall_handled_rows": (
        "counter",
        "Rows of inference calls by what became of them: admitted, coarsened (by the ladder), limited, refused.",
        ("model", "outcome"),
    ),
    "tensorwall_calls_in_flight": ("gauge", "Calls being worked on, and replies that callers have not taken yet.", ()),
    "tensorwall_tasks": ("gauge", "Tasks of the event loop; with no call in flight always about the same.", ()),
    "tensorwall_refusals": ("counter", "Calls that the proxy itself refused.", ("model", "reason")),
    "tensorwall_unparsable_requests": ("counter", "Requests forwarded although they are no valid message.", ()),
    "tensorwall_input_rows": (
        "counter",
        "Rows that an input's rule saw: unchanged, changed (in shadow: would have been).",
        ("model", "input", "mode", "outcome"),
    ),
    "tensorwall_input_refusals": ("counter", "Calls that an input's rule refused.", ("model", "input", "mode")),
    "tensorwall_answer_rows": (
        "counter",
        "Rows that an output's rule saw: unchanged, changed (in shadow: would have been).",
        ("model", "output", "mode", "outcome"),
    ),
    "tensorwall_answer_mismatches": (
        "counter",
        "Replies whose numbers are not what an output's rule was made for.",
        ("model", "output", "mode"),
    ),
    "tensorwall_defense_seconds": ("histogram", "Time that a call spent in a model's defenses.", ("model", "stage")),
    "tensorwall_purifier_calls": ("counter", "Rows sent through a purifier, by call.", ("model", "outcome")),
    "tensorwall_squeezing_disagreement": ("histogram", "L1 distance that squeezing moved a row's answer.", ("model",)),
    "tensorwall_squeezing_rows": (
        "counter",
        "Rows scored, and those above the threshold.",
        ("model", "mode", "outcome"),
    ),
    "tensorwall_squeezing_skipped": ("counter", "Calls that could not be scored.", ("model", "reason")),
    "tensorwall_observed_rows": ("counter", "Rows that the detectors saw.", ("model",)),
    "tensorwall_unobserved_rows": (
        "counter",
        "Rows that they did not see: the queue was full, the request or its answer could not be read, "
        "their process ended; or rows of other proxies that could not be used.",
        ("model", "reason"),
    ),
    "tensorwall_shared_rows": (
        "counter",
        "Rows among them that came through the shared log: of other proxies, or of before the start.",
        ("model", "source"),
    ),
    "tensorwall_unshared_rows": (
        "counter",
        "Rows that other proxies never get to see: the store was away for too long.",
        ("model",),
    ),
    "tensorwall_observation_log_up": (
        "gauge",
        "Whether observations are shared as configured; 0: each proxy sees its own only.",
        (),
    ),
    "tensorwall_observation_log_seconds": ("histogram", "Time of a step of the shared log, one round trip.", ()),
    "tensorwall_observation_log_lag_rows": ("gauge", "Rows of the shared log that are still to be read.", ("model",)),
    "tensorwall_observation_queue_rows": ("gauge", "Rows that the detectors have not seen yet.", ()),
    "tensorwall_observation_seconds": ("histogram", "Time that a call spent in being observed.", ("model",)),
    "tensorwall_detection_seconds": ("histogram", "Time that the detectors took for a batch.", ("model",)),
    "tensorwall_detection_surprise": (
        "histogram",
        "Findings, by how unusual they are among benign callers, in powers of ten.",
        ("model", "detector", "technique"),
    ),
    "tensorwall_detector_tracked": ("gauge", "What a detector keeps.", ("model", "detector", "kind")),
    "tensorwall_detector_dropped": (
        "counter",
        "What a detector forgot to stay within its bound.",
        ("model", "detector", "kind"),
    ),
    "tensorwall_detection_cpu_seconds": (
        "counter",
        "Processor seconds, user and system, of the detectors' process; those of the proxy itself are others.",
        (),
    ),
    "tensorwall_detection_memory_bytes": (
        "gauge",
        "Resident memory of the detectors' process; absent where no model is watched, or where /proc does not tell it.",
        (),
    ),
    "tensorwall_detection_restarts": (
        "counter",
        "Times that the detectors' process ended by itself, to begin anew.",
        (),
    ),
    "tensorwall_detector_failures": ("counter", "Detectors that raised and were left out.", ("model", "detector")),
    "tensorwall_detector_up": (
        "gauge",
        "1 if a detector works, 0 if it raised and is left out.",
        ("model", "detector"),
    ),
    "tensorwall_extraction_progress": (
        "gauge",
        "Highest share of next rows that a surrogate of any caller foretells.",
        ("model",),
    ),
    "tensorwall_verdicts": (
        "gauge",
        "Verdicts that stand, by what they are for and on which step.",
        ("model", "technique", "subject", "step", "mode"),
    ),
    "tensorwall_attacks": (
        "counter",
        "Attacks that reached a step of the ladder: verdicts on a caller, a group, or a cluster of near rows.",
        ("model", "technique", "subject", "step", "mode"),
    ),
    "tensorwall_last_attack_timestamp_seconds": (
        "gauge",
        "When there was evidence for a verdict last; 0 if never.",
        ("model", "technique"),
    ),
    "tensorwall_callers": ("gauge", "Callers under a verdict, each on its hardest step.", ("model", "step", "mode")),
    "tensorwall_verdicts_evicted": ("counter", "Verdicts forgotten before their time.", ()),
    "tensorwall_verdict_calls": (
        "counter",
        "Calls that a verdict acted on: refused, slowed, echoed or coarsened.",
        ("model", "action"),
    ),
    "tensorwall_verdict_rows": ("counter", "Rows that were answered like an earlier near row.", ("model",)),
    "tensorwall_profile_learned": (
        "gauge",
        "1 if detection has a learned profile, 0 if it runs on defaults; mode is the configured one.",
        ("model", "mode"),
    ),
    "tensorwall_profile_info": ("gauge", "Always 1; which benign profile is in force.", ("model", "profile")),
    "tensorwall_protection_problems": (
        "gauge",
        "Contradictions between a model's rules and its signatures; the log names them.",
        ("model",),
    ),
    "tensorwall_events": ("counter", "Events of the audit log, by what happened.", ("event",)),
    "tensorwall_event_deliveries": (
        "counter",
        "Events and alerts, by outlet (file, webhook, alertmanager): delivered, tries that failed, dropped for good.",
        ("outlet", "outcome"),
    ),
    "tensorwall_events_waiting": (
        "gauge",
        "Events that an outlet has not got rid of yet; alerts that fire.",
        ("outlet",),
    ),
    "tensorwall_decisions": ("gauge", "Operators' decisions that stand: blocks and immunities.", ("action",)),
    "tensorwall_admin_open": ("gauge", "Sessions and streams of the admin port.", ("what",)),
    "tensorwall_admin_dropped": (
        "counter",
        "What the admin port forgot to stay within its bounds.",
        ("what",),
    ),
    "tensorwall_limit_decisions": (
        "counter",
        "Calls that a limit saw: within, near (80 % in use), over (refused, or in shadow it would have been).",
        ("limit", "model", "by", "mode", "outcome"),
    ),
    "tensorwall_store_up": ("gauge", "1 if limits are decided where they are configured to be.", ()),
    "tensorwall_store_seconds": ("histogram", "Time that a decision of a shared store took.", ()),
    "tensorwall_store_keys": ("gauge", "Counts kept in this process.", ("measure",)),
    "tensorwall_store_evictions": ("counter", "Counts forgotten before their time.", ("measure",)),
    "tensorwall_store_fallbacks": ("counter", "Decisions made without the shared store.", ("cause",)),
    "tensorwall_store_leases": ("gauge", "Calls in flight whose slots are shared.", ()),
    "tensorwall_store_leases_dropped": ("counter", "Slots that were left to run out.", ()),
    "tensorwall_captured_calls": ("counter", "Calls written to capture files.", ("model",)),
    "tensorwall_captured_rows": (
        "counter",
        "Rows in them, by whether their caller was under a verdict.",
        ("model", "marked"),
    ),
    "tensorwall_captured_bytes": ("counter", "What they took.", ("model",)),
    "tensorwall_capture_dropped_calls": (
        "counter",
        "Sampled calls that were not captured: a cap, the queue, the disk or its bound, or the size of a message.",
        ("model", "reason"),
    ),
    "tensorwall_capture_files": (
        "counter",
        "Capture files that were finished, recovered after a crash, deleted for the bound, uploaded.",
        ("outcome",),
    ),
    "tensorwall_capture_upload_failures": ("counter", "Uploads that failed; they are tried again.", ()),
    "tensorwall_capture_failing": ("gauge", "1 while capture cannot write.", ()),
    "tensorwall_capture_queue_bytes": ("gauge", "Calls that wait to be written.", ()),
    "tensorwall_capture_disk_bytes": ("gauge", "Capture files in the folder.", ()),
    "tensorwall_live_rows": (
        "counter",
        "Rows in live windows: sent, dropped (the window was behind), unread.",
        ("model", "outcome"),
    ),
    "tensorwall_upstream_retries": ("counter", "Second tries, and those that the budget forbade.", ("outcome",)),
    "tensorwall_upstream_up": ("gauge", "1 if the target answered its last probe.", ("target",)),
    "tensorwall_ready": ("gauge", "1 if the proxy is ready to serve.", ()),
    "tensorwall_config_reloads": ("counter", "Configurations taken or refused while running.", ("result",)),
    "tensorwall_config_last_reload_successful": ("gauge", "1 if the last configuration offered was taken.", ()),
    "tensorwall_config_loaded_timestamp_seconds": ("gauge", "When the configuration in force was taken.", ()),
    "tensorwall_config_info": ("gauge", "Always 1; a hash of the configuration as /config shows it.", ("hash",)),
    "tensorwall_file_usable": (
        "gauge",
        "0 if keys or certificates were changed and cannot be used; the old ones stay in force.",
        ("kind",),
    ),
    "tensorwall_certificate_expiry_timestamp_seconds": (
        "gauge",
        "When the proxy's own certificates run out, the first of each chain.",
        ("kind",),
    ),
    "tensorwall_model_labels_dropped": ("counter", "Calls whose model is counted under `other`.", ()),
    "tensorwall_build_info": ("gauge", "Always 1; the version is in the label.", ("version",)),
}
"""Type, meaning and labels of every metric; counters get the suffix `_total` when they are exposed."""


PUSHED: Mapping[str, tuple[str, str, tuple[str, ...]]] = {
    "tensorwall_retraining_last_success_timestamp_seconds": (
        "gauge",
        "When a retraining last passed its gates and was published.",
        ("model",),
    ),
}
"""Names kept for offline jobs, which push them; the proxy exports none of them."""


def counter(name: str, registry: CollectorRegistry) -> Counter:
    """The catalogue's counter of this name, on a registry."""
    return Counter(name, CATALOGUE[name][1], CATALOGUE[name][2], registry=registry)


def gauge(name: str, registry: CollectorRegistry) -> Gauge:
    """The catalogue's gauge of this name, on a registry."""
    return Gauge(name, CATALOGUE[name][1], CATALOGUE[name][2], registry=registry)


def histogram(name: str, registry: CollectorRegistry, buckets: tuple[float, ...] = SECONDS) -> Histogram:
    """The catalogue's histogram of this name, on a registry."""
    return Histogram(name, CATALOGUE[name][1], CATALOGUE[name][2], registry=registry, buckets=buckets)


_HEAD = "| metric | type | labels | meaning |"


def table(metrics: Mapping[str, tuple[str, str, tuple[str, ...]]] = CATALOGUE) -> str:
    """The catalogue as a table of docs/metrics.md."""
    lines = [_HEAD, "|---|---|---|---|"]
    for name, (kind, meaning, labels) in metrics.items():
        shown = f"{name}_total" if kind == "counter" else name
        lines.append(f"| `{shown}` | {kind} | {', '.join(labels) or '-'} | {meaning} |")
    return "\n".join(lines) + "\n"


def documented(page: str) -> str:
    """A page with its tables written anew: the first is the catalogue, the second what jobs push.

    Raises:
        ValueError: the page does not have these two tables.
    """
    tables = re.findall(rf"^{re.escape(_HEAD)}\n(?:\|.*\n)+", page, re.MULTILINE)
    if len(tables) != 2:
        raise ValueError(f"the page has {len(tables)} tables of metrics instead of two; each begins with {_HEAD}")
    return page.replace(tables[0], table()).replace(tables[1], table(PUSHED))
