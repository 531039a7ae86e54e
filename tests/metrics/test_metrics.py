"""Every metric's name, type and labels, and that no caller can widen a label's set of values."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from proxy.logs import printable
from proxy.metrics import (
    CATALOGUE,
    MAX_LEARNED_MODELS,
    OTHER,
    PUSHED,
    LimitMetrics,
    Metrics,
    ModelLabels,
    ProtectionMetrics,
    documented,
)
from proxy.metrics.capture import CaptureMetrics
from proxy.metrics.detection import DetectionMetrics
from proxy.metrics.labels import label_value
from proxy.metrics.operations import OperationMetrics
from proxy.policy import Verdict
from proxy.state import StoreStats

ROOT = Path(__file__).parents[2]
PREDICT = "/tensorflow.serving.PredictionService/Predict"


class _Standing:
    """A detection that watches nothing."""

    queued_rows = 0
    evicted = 0
    process_id = None
    watched: Mapping[str, Any] = {}

    def standing_verdicts(self) -> list[Verdict]:
        return []


class _Operating:
    """An admin port at which nobody is."""

    def decisions(self) -> Mapping[str, int]:
        return {"block": 1}

    def open(self) -> Mapping[str, int]:
        return {"sessions": 2}

    def waiting(self) -> Mapping[str, int]:
        return {"file": 3}

    def dropped(self) -> Mapping[str, int]:
        return {"streams": 4}


def end(metrics: Metrics, model: str, code: str = "OK", method: str = PREDICT) -> None:
    metrics.finished(
        model=model,
        method=method,
        code=code,
        outcome="admitted",
        rows=3,
        request_bytes=10,
        reply_bytes=20,
        proxy_seconds=0.001,
        upstream_seconds=0.002,
    )


def exposed(registry: CollectorRegistry) -> dict[str, Any]:
    return {family.name: family for family in text_string_to_metric_families(generate_latest(registry).decode())}


def test_the_catalogue_is_what_is_exposed() -> None:
    registry = CollectorRegistry()
    metrics = Metrics(registry, ["m"])
    end(metrics, "m")
    metrics.configure(["m"], "0123456789ab")
    metrics.certificates({"listen_tls": 1.8e9})
    metrics.refused(model="m", reason="overload", rows=2)
    metrics.target_up("a:1", True)
    LimitMetrics(registry, metrics.models.label, lambda: StoreStats({"slots": 1}, {"day": 2}, {"away": 3}))
    ProtectionMetrics(registry)
    DetectionMetrics(registry).read(_Standing())
    OperationMetrics(registry).read(_Operating())
    CaptureMetrics(registry, lambda: 0)
    families = exposed(registry)
    for name, (kind, meaning, labels) in CATALOGUE.items():
        family = families[name]
        assert (family.type, family.documentation) == (kind, meaning)
        for sample in family.samples:
            assert set(sample.labels) - {"le"} == set(labels), name
    assert {name for name in families if name.startswith("tensorwall_")} == set(CATALOGUE)


STABLE = {
    "tensorwall_admin_dropped": "counter(what)",
    "tensorwall_admin_open": "gauge(what)",
    "tensorwall_answer_mismatches": "counter(model, output, mode)",
    "tensorwall_answer_rows": "counter(model, output, mode, outcome)",
    "tensorwall_attacks": "counter(model, technique, subject, step, mode)",
    "tensorwall_build_info": "gauge(version)",
    "tensorwall_callers": "gauge(model, step, mode)",
    "tensorwall_calls": "counter(model, method, code)",
    "tensorwall_calls_in_flight": "gauge()",
    "tensorwall_capture_disk_bytes": "gauge()",
    "tensorwall_capture_dropped_calls": "counter(model, reason)",
    "tensorwall_capture_failing": "gauge()",
    "tensorwall_capture_files": "counter(outcome)",
    "tensorwall_capture_queue_bytes": "gauge()",
    "tensorwall_capture_upload_failures": "counter()",
    "tensorwall_captured_bytes": "counter(model)",
    "tensorwall_captured_calls": "counter(model)",
    "tensorwall_captured_rows": "counter(model, marked)",
    "tensorwall_certificate_expiry_timestamp_seconds": "gauge(kind)",
    "tensorwall_config_info": "gauge(hash)",
    "tensorwall_config_last_reload_successful": "gauge()",
    "tensorwall_config_loaded_timestamp_seconds": "gauge()",
    "tensorwall_config_reloads": "counter(result)",
    "tensorwall_decisions": "gauge(action)",
    "tensorwall_defense_seconds": "histogram(model, stage)",
    "tensorwall_detection_seconds": "histogram(model)",
    "tensorwall_detection_surprise": "histogram(model, detector, technique)",
    "tensorwall_detector_dropped": "counter(model, detector, kind)",
    "tensorwall_detection_cpu_seconds": "counter()",
    "tensorwall_detection_memory_bytes": "gauge()",
    "tensorwall_detection_restarts": "counter()",
    "tensorwall_detector_failures": "counter(model, detector)",
    "tensorwall_detector_tracked": "gauge(model, detector, kind)",
    "tensorwall_detector_up": "gauge(model, detector)",
    "tensorwall_event_deliveries": "counter(outlet, outcome)",
    "tensorwall_events": "counter(event)",
    "tensorwall_events_waiting": "gauge(outlet)",
    "tensorwall_extraction_progress": "gauge(model)",
    "tensorwall_file_usable": "gauge(kind)",
    "tensorwall_handled_rows": "counter(model, outcome)",
    "tensorwall_input_refusals": "counter(model, input, mode)",
    "tensorwall_input_rows": "counter(model, input, mode, outcome)",
    "tensorwall_last_attack_timestamp_seconds": "gauge(model, technique)",
    "tensorwall_limit_decisions": "counter(limit, model, by, mode, outcome)",
    "tensorwall_live_rows": "counter(model, outcome)",
    "tensorwall_model_labels_dropped": "counter()",
    "tensorwall_observation_log_lag_rows": "gauge(model)",
    "tensorwall_observation_log_seconds": "histogram()",
    "tensorwall_observation_log_up": "gauge()",
    "tensorwall_observation_queue_rows": "gauge()",
    "tensorwall_observation_seconds": "histogram(model)",
    "tensorwall_observed_rows": "counter(model)",
    "tensorwall_profile_info": "gauge(model, profile)",
    "tensorwall_profile_learned": "gauge(model, mode)",
    "tensorwall_protection_problems": "gauge(model)",
    "tensorwall_proxy_seconds": "histogram(model, method)",
    "tensorwall_purifier_calls": "counter(model, outcome)",
    "tensorwall_ready": "gauge()",
    "tensorwall_refusals": "counter(model, reason)",
    "tensorwall_reply_bytes": "counter(model)",
    "tensorwall_request_bytes": "counter(model)",
    "tensorwall_rows": "counter(model, method)",
    "tensorwall_shared_rows": "counter(model, source)",
    "tensorwall_squeezing_disagreement": "histogram(model)",
    "tensorwall_squeezing_rows": "counter(model, mode, outcome)",
    "tensorwall_squeezing_skipped": "counter(model, reason)",
    "tensorwall_store_evictions": "counter(measure)",
    "tensorwall_store_fallbacks": "counter(cause)",
    "tensorwall_store_keys": "gauge(measure)",
    "tensorwall_store_leases": "gauge()",
    "tensorwall_store_leases_dropped": "counter()",
    "tensorwall_store_seconds": "histogram()",
    "tensorwall_store_up": "gauge()",
    "tensorwall_tasks": "gauge()",
    "tensorwall_unobserved_rows": "counter(model, reason)",
    "tensorwall_unparsable_requests": "counter()",
    "tensorwall_unshared_rows": "counter(model)",
    "tensorwall_upstream_retries": "counter(outcome)",
    "tensorwall_upstream_seconds": "histogram(model, method)",
    "tensorwall_upstream_up": "gauge(target)",
    "tensorwall_verdict_calls": "counter(model, action)",
    "tensorwall_verdict_rows": "counter(model)",
    "tensorwall_verdicts": "gauge(model, technique, subject, step, mode)",
    "tensorwall_verdicts_evicted": "counter()",
}
"""What dashboards and alerts of others rely on. A change here is a change for them: say so in the changelog."""


def test_names_types_and_labels_are_stable() -> None:
    assert {name: f"{kind}({', '.join(labels)})" for name, (kind, _, labels) in CATALOGUE.items()} == STABLE
    assert PUSHED["tensorwall_retraining_last_success_timestamp_seconds"][::2] == ("gauge", ("model",))


def test_names_follow_the_rules_of_prometheus() -> None:
    for name, (kind, meaning, labels) in {**CATALOGUE, **PUSHED}.items():
        assert re.fullmatch(r"tensorwall_[a-z]+(_[a-z]+)*", name)
        assert not name.endswith(("_total", "_count", "_sum", "_bucket")), "the exposition adds these itself"
        assert meaning.endswith(".")
        assert not {"caller", "key", "address", "group", "owner", "le", "quantile"} & set(labels), name
        if "timestamp" in name:
            assert name.endswith("_timestamp_seconds")
            assert kind == "gauge"


def test_the_documentation_has_the_table() -> None:
    page = (ROOT / "docs" / "metrics.md").read_text()
    assert documented(page) == page, "run `python -m proxy.metrics docs/metrics.md`"


def test_a_name_that_nobody_knows_is_other_until_the_upstream_answers_for_it() -> None:
    registry = CollectorRegistry()
    metrics = Metrics(registry)
    end(metrics, "m", "NOT_FOUND")
    end(metrics, "m", "OK")
    end(metrics, "m", "NOT_FOUND")
    samples = [s for s in exposed(registry)["tensorwall_calls"].samples if s.name.endswith("_total")]
    calls = {(s.labels["model"], s.labels["method"], s.labels["code"]): s.value for s in samples}
    assert calls == {(OTHER, "Predict", "NOT_FOUND"): 1, ("m", "Predict", "OK"): 1, ("m", "Predict", "NOT_FOUND"): 1}


def test_unknown_methods_share_a_label() -> None:
    registry = CollectorRegistry()
    metrics = Metrics(registry)
    for number in range(50):
        end(metrics, "", "PERMISSION_DENIED", f"/a.B/Method{number}")
    assert {s.labels["method"] for s in exposed(registry)["tensorwall_calls"].samples} == {OTHER}


def test_learning_has_a_bound() -> None:
    labels = ModelLabels(["configured"])
    for number in range(MAX_LEARNED_MODELS + 50):
        labels.learn(f"m{number}")
    assert labels.label(f"m{MAX_LEARNED_MODELS}") == OTHER
    assert labels.label("m0") == "m0"
    assert labels.label("configured") == "configured"
    assert labels.dropped == 1


@settings(deadline=None)
@given(st.text(min_size=1, max_size=300), st.integers(0, 10_000))
def test_long_names_that_begin_alike_are_not_one_label_value(end: str, length: int) -> None:
    begin = "x" * length
    assert label_value(f"{begin}{end}1") != label_value(f"{begin}{end}2")
    assert label_value(begin + end) == label_value(printable(begin + end)) or len(begin + end) > 100


@settings(deadline=None)
@given(st.text(min_size=1, max_size=300))
def test_hostile_names_stay_one_label_value(name: str) -> None:
    registry = CollectorRegistry()
    metrics = Metrics(registry)
    end(metrics, name)
    samples = [s for s in exposed(registry)["tensorwall_calls"].samples if s.name.endswith("_total")]
    assert len(samples) == 1
    label = samples[0].labels["model"]
    assert label.isprintable()
    assert 0 < len(label) <= 128
    assert label != OTHER
