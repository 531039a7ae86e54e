"""The same weights whatever the number of devices and workers."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from defenses.retraining.job import Job
from tests.defenses.retraining import digits

pytest.importorskip("tensorflow", reason="the extra retrain is not installed")


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return digits.write(tmp_path_factory.mktemp("rows"))


@pytest.fixture(scope="module")
def single(rows: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    """The weights of an undisturbed run on one device."""
    job = _job(tmp_path_factory.mktemp("single"), rows)
    assert _start(job).wait(100) == 0
    return _weights(job)


def _job(folder: Path, rows: Path, **changes: Any) -> Job:
    training = {"average": 0.9, "label_smoothing": 0.1, "checkpoint_seconds": 0.02, "optimizer": {"clip_norm": 5.0}}
    return digits.job(folder, rows, {"kind": "fgsm_rs"}, awp={"gamma": 0.005}, training=training, **changes)


def _start(job: Job, *arguments: str, **environment: str) -> "subprocess.Popen[str]":
    job.output.mkdir(parents=True, exist_ok=True)
    file = job.output.parent / "job.json"
    file.write_text(job.model_dump_json())
    variables = {**os.environ, "PYTHONPATH": str(Path.cwd()), "TF_CPP_MIN_LOG_LEVEL": "3", **environment}
    command = [sys.executable, "-P", "-m", "tests.defenses.retraining.digits", str(file), *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=variables)


def _weights(job: Job) -> list[Any]:
    import keras

    return list(keras.saving.load_model(job.output / "candidate.keras").get_weights())


def _assert_same(found: list[Any], expected: list[Any]) -> None:
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, atol=2e-4)


@pytest.mark.timeout(300)
def test_two_devices_reach_the_weights_of_one(tmp_path: Path, rows: Path, single: list[Any]) -> None:
    job = _job(tmp_path, rows)
    assert _start(job, "2").wait(200) == 0
    _assert_same(_weights(job), single)


@pytest.mark.timeout(300)
def test_two_workers_reach_the_weights_of_one(
    tmp_path: Path, rows: Path, single: list[Any], unused_tcp_port_factory: Any
) -> None:
    job = _job(tmp_path, rows, strategy="multi_worker")
    addresses = [f"127.0.0.1:{unused_tcp_port_factory()}" for _ in range(2)]
    workers = [
        _start(job, TF_CONFIG=json.dumps({"cluster": {"worker": addresses}, "task": {"type": "worker", "index": n}}))
        for n in range(2)
    ]
    try:
        assert [worker.wait(200) for worker in workers] == [0, 0]
    finally:
        for worker in workers:
            worker.kill()
    _assert_same(_weights(job), single)
