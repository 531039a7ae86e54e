"""Two workers of one machine, each a run of the command: the weights of one worker alone, published once."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.retrain.jobs import candidate_weights, environment, write_job

pytest.importorskip("tensorflow", reason="the extra retrain is not installed")

QUICK = {"rows": 100, "apgd_steps": 5, "square_queries": 5}


def start(job: Path, **variables: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-P", "-m", "proxy", "retrain", "--job", str(job)]
    whole = {**environment(), **variables}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=whole)


@pytest.mark.timeout(300)
def test_two_workers_publish_the_weights_of_one_once(tmp_path: Path, unused_tcp_port_factory: Any) -> None:
    alone, shared = tmp_path / "alone", tmp_path / "shared"
    for folder in (alone, shared):
        folder.mkdir()
    addresses = [f"127.0.0.1:{unused_tcp_port_factory()}" for _ in range(2)]
    job = write_job(shared, strategy="multi_worker", evaluate=QUICK)
    runs = [start(write_job(alone, publish=None))]
    runs += [
        start(job, TF_CONFIG=json.dumps({"cluster": {"worker": addresses}, "task": {"type": "worker", "index": n}}))
        for n in range(2)
    ]
    try:
        said = [run.communicate(timeout=250)[0] for run in runs]
    finally:
        for run in runs:
            run.kill()
    assert [run.returncode for run in runs] == [0, 0, 0], said
    for one, other in zip(candidate_weights(shared), candidate_weights(alone), strict=True):
        np.testing.assert_allclose(one, other, atol=2e-4)
    assert sorted(path.name for path in (shared / "served").iterdir() if path.name.isdigit()) == ["1", "2"]
    assert [f"Published as {shared}/served/2" in each for each in said[1:]] == [True, False]
    assert "gate" not in said[2], "the other worker does not judge"
