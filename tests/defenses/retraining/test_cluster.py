"""TF_CONFIG is refused where TensorFlow would train on one worker alone, or wait for ever."""

import json
from typing import Any

import pytest

from defenses.retraining.cluster import complaint

TWO = {"worker": ["a:4000", "b:4000"]}


def written(cluster: Any, **task: Any) -> str:
    return json.dumps({"cluster": cluster, "task": task})


@pytest.mark.parametrize(
    "value",
    [
        written(TWO, type="worker", index=1),
        written(TWO, type="worker", index="1"),  # as templates write it
        written({"chief": ["c:1"], **TWO}, type="chief", index=0),
        written({"worker": ["[::1]:4000"]}, type="worker", index=0),
        json.dumps({"cluster": TWO, "task": {"type": "worker", "index": 0}, "environment": "cloud"}),
    ],
)
def test_one_of_the_workers(value: str) -> None:
    assert complaint(value) is None


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("", "Invalid JSON"),
        ("[]", "Input should be an object"),
        ("{}", "cluster is missing"),
        (json.dumps({"cluster": TWO}), "task is missing"),
        (written(TWO), "task.type is missing"),
        (written(TWO, type="worker"), "task.index is missing"),
        (written(TWO, index=0), "task.type is missing"),
        (written(TWO, type="worker", index=2), "task.index 2 is not below 2, the length of cluster.worker"),
        (written(TWO, type="chief", index=0), "task.index 0 is not below 0, the length of cluster.chief"),
        (written({}, type="worker", index=0), "task.index 0 is not below 0, the length of cluster.worker"),
        (written(TWO, type="worker", index=-1), "task.index: Input should be greater than or equal to 0"),
        (written(TWO, type="worker", index="first"), "task.index: Input should be a valid integer"),
        (written(TWO, type="evaluator", index=0), "task.type: Input should be 'chief' or 'worker'"),
        (written({**TWO, "ps": ["p:1"]}, type="worker", index=0), "cluster.ps has no place there"),
        (written([], type="worker", index=0), "cluster: Input should be an object"),
        (written({"chief": ["a:1", "b:1"]}, type="chief", index=0), "cluster.chief: List should have at most 1 item"),
        (written({"worker": ["a"]}, type="worker", index=0), "cluster.worker.0: 'a' is not HOST:PORT"),
        (written({"worker": ["a:0"]}, type="worker", index=0), "cluster.worker.0: 'a:0' is not HOST:PORT"),
        (written({"worker": ["a:65536"]}, type="worker", index=0), "cluster.worker.0: 'a:65536' is not HOST:PORT"),
        (written({"worker": ["a:1", "a:1"]}, type="worker", index=0), "cluster: 'a:1' is the address of two"),
    ],
)
def test_none_of_them(value: str, reason: str) -> None:
    said = complaint(value)
    assert said is not None
    assert said.startswith(f"TF_CONFIG is {value!r}: {reason}")
    assert '; set it to {"cluster": {"worker": ["HOST:PORT", ...]}, "task": ' in said


def test_what_is_not_set_or_very_long() -> None:
    assert (complaint(None) or "").startswith("TF_CONFIG is not set; set it to ")
    assert len(complaint("[" * 100_000) or "") < 600
