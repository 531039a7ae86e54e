"""Every metric's name, type and labels, and that no caller can widen a label's set of values."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from proxy.metrics import (
    CATALOGUE,
    MAX_LEARNED_MODELS,
    OTHER,
    LimitMetrics,
    Metrics,
    ModelLabels,
    ProtectionMetrics,
    table,
)
from proxy.metrics.capture import CaptureMetrics
from proxy.metrics.detection import DetectionMetrics
from proxy.metrics.operations import OperationMetrics
from proxy.policy import Verdict
from proxy.state import StoreStats

ROOT = Path(__file__).parents[2]
PREDICT = "/tensorflow.serving.PredictionService/Predict"


class _Standing:
    """A detection that watches nothing."""

    queued_rows = 0
    evicted = 0
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
    metrics.refused(model="m", reason="overload")
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
    assert {name for name in families if name.startswith("tensorwall_")} - {f"{n}_created" for n in CATALOGUE} == set(
        CATALOGUE
    )


def test_the_documentation_has_the_table() -> None:
    assert table() in (ROOT / "docs" / "metrics.md").read_text(), "run `python -m proxy.metrics` and put it there"


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
