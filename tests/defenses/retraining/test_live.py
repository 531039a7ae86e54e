"""Callers that are worse off show in the proxy's metrics."""

from pathlib import Path

import pytest

from defenses.retraining.live import LiveError, Reading, read, worse

TEXT = """# TYPE tensorwall_calls_total counter
tensorwall_calls_total{model="m",method="Predict",code="OK"} 90.0
tensorwall_calls_total{model="m",method="Predict",code="INTERNAL"} 3.0
tensorwall_calls_total{model="m",method="Classify",code="RESOURCE_EXHAUSTED"} 7.0
tensorwall_calls_total{model="n",method="Predict",code="INTERNAL"} 50.0
# TYPE tensorwall_upstream_seconds histogram
tensorwall_upstream_seconds_bucket{model="m",method="Predict",le="+Inf"} 93.0
tensorwall_upstream_seconds_count{model="m",method="Predict"} 93.0
tensorwall_upstream_seconds_sum{model="m",method="Predict"} 0.93
"""


def test_the_proxys_text_is_read(tmp_path: Path) -> None:
    file = tmp_path / "metrics"
    file.write_text(TEXT)
    assert read(str(file), "m") == Reading(100, 3, 0.93, 93)
    assert read(str(file), "none") == Reading(0, 0, 0, 0)
    file.write_text("}{ no metrics")
    with pytest.raises(LiveError, match="no Prometheus text"):
        read(str(file), "m")
    with pytest.raises(LiveError, match="cannot be read"):
        read(str(tmp_path / "no"), "m")
    with pytest.raises(LiveError, match="cannot be read"):
        read("http://127.0.0.1:1/metrics", "m")


def test_failures_and_delays_are_told_apart_from_noise() -> None:
    before = Reading(1000, 10, 10.0, 1000)
    assert worse(before, Reading(1000, 15, 12.0, 1000), 0.01, 3) == []
    assert worse(before, Reading(20, 20, 9.0, 20), 0.01, 3) == [], "too few calls to say"
    assert worse(before, Reading(1000, 100, 10.0, 1000), 0.01, 3) == ["10.0% of 1000 calls failed, and 1.0% before."]
    assert worse(before, Reading(1000, 10, 50.0, 1000), 0.01, 3) == [
        "the model server took 50.0 ms a call, and 10.0 ms before."
    ]
    assert Reading(5, 4, 3, 2).since(Reading(1, 1, 1, 1)) == Reading(4, 3, 2, 1)
