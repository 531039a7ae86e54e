"""Two workers of one machine, each a run of the command: the weights of one worker alone, published once."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from defenses.retraining.publish import publishing
from tests.retrain.jobs import candidate_weights, environment, write_job

pytest.importorskip("tensorflow", reason="the extra retrain is not installed")


def start(job: Path, **variables: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-P", "-m", "proxy", "retrain", "--job", str(job)]
    whole = {**environment(), **variables}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=whole)


def together(job: Path, port: Callable[[], int]) -> "list[subprocess.Popen[str]]":
    """Both workers of a job."""
    cluster = {"worker": [f"127.0.0.1:{port()}" for _ in range(2)]}
    tasks = [{"type": "worker", "index": n} for n in range(2)]
    return [start(job, TF_CONFIG=json.dumps({"cluster": cluster, "task": task})) for task in tasks]


def ended(runs: "list[subprocess.Popen[str]]") -> list[tuple[int, str]]:
    """Exit codes, and all that was said."""
    try:
        said = [run.communicate(timeout=250)[0] for run in runs]
    finally:
        for run in runs:
            run.kill()
    return [(run.returncode, each) for run, each in zip(runs, said, strict=True)]


@pytest.mark.timeout(300)
def test_two_workers_publish_the_weights_of_one_once(
    tmp_path: Path, unused_tcp_port_factory: Callable[[], int]
) -> None:
    alone, shared = tmp_path / "alone", tmp_path / "shared"
    for folder in (alone, shared):
        folder.mkdir()
    quick = {"rows": 100, "apgd_steps": 5, "square_queries": 5}
    job = write_job(shared, strategy="multi_worker", evaluate=quick)
    runs = ended([start(write_job(alone, publish=None)), *together(job, unused_tcp_port_factory)])
    assert [code for code, _ in runs] == [0, 0, 0], runs
    for one, other in zip(candidate_weights(shared), candidate_weights(alone), strict=True):
        np.testing.assert_allclose(one, other, atol=2e-4)
    assert sorted(path.name for path in (shared / "served").iterdir() if path.name.isdigit()) == ["1", "2"]
    assert [f"Published as {shared}/served/2" in said for _, said in runs] == [False, True, False]
    assert "gate" not in runs[2][1], "the other worker does not judge"


@pytest.mark.timeout(300)
def test_no_worker_waits_for_a_chief_that_cannot_publish(
    tmp_path: Path, unused_tcp_port_factory: Callable[[], int]
) -> None:
    job = write_job(tmp_path, strategy="multi_worker")
    with publishing(tmp_path / "served", "a test"):
        chief, other = ended(together(job, unused_tcp_port_factory))
    assert [chief[0], other[0]] == [1, 1]
    assert f"another run publishes to {tmp_path}/served: a test, process " in chief[1]
    assert "strategy: another worker of TF_CONFIG has ended, and none can train without the others" in other[1]
    assert "Traceback" not in other[1]
    assert not (tmp_path / "out" / "candidate.keras").exists()
