"""A run that is killed at random moments, again and again, ends where an undisturbed one does."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from defenses.retraining.schedule import last_success
from tests.retrain.jobs import candidate_weights, environment, write_job

pytest.importorskip("tensorflow", reason="the extra retrain is not installed")

KILLS = 10
# Each run is forked from a process that has imported everything and run nothing: an import takes as long as the run.
FORKS = """
import os, sys
import art.attacks.evasion, art.estimators.classification, matplotlib.figure, tensorflow, tqdm
from defenses.retraining import conclude, run
from proxy.__main__ import main
print("ready", flush=True)
for line in sys.stdin:
    pid = os.fork()
    if not pid:
        null = os.open(line.strip() + ".log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(null, 1)
        os.dup2(null, 2)
        sys.stdout.reconfigure(line_buffering=True)
        code = main(["retrain", "--job", line.strip()])
        sys.stdout.flush()
        os._exit(code)
    print(pid, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
"""
WHOLE = (
    "saved_model.pb",
    "variables/variables.index",
    "assets.extra/model_card.json",
    "assets.extra/model_card.md",
    "assets.extra/tf_serving_warmup_requests",
)


class Runs:
    """Runs of the command, one after the other."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-c", FORKS],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment(),
        )
        assert self._line() == "ready"

    def start(self, job: Path) -> int:
        """The process id."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{job}\n")
        self._process.stdin.flush()
        return int(self._line())

    def ended(self) -> int:
        """The exit code of the one started last; waits for it."""
        return int(self._line())

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()

    def _line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()


class Watcher(threading.Thread):
    """Looks at the served folder all the time, as a model server does; `broken` is what it saw that was not whole."""

    def __init__(self, base: Path) -> None:
        super().__init__()
        self._base, self._over, self.broken, self.looks = base, threading.Event(), list[str](), 0

    def run(self) -> None:
        while not self._over.wait(0.001):
            self.looks += 1
            for folder in self._base.iterdir():
                if folder.name.isdigit() and folder.name != "1":
                    self.broken += [f"{folder}/{name}" for name in WHOLE if not (folder / name).is_file()]

    def stop(self) -> None:
        self._over.set()
        self.join()


def _assert_same_weights(folder: Path, other: Path) -> None:
    for one, two in zip(candidate_weights(folder), candidate_weights(other), strict=True):
        np.testing.assert_allclose(one, two, atol=2e-4)


@pytest.mark.timeout(900)
def test_ten_kills_change_nothing(tmp_path: Path) -> None:
    quick = {"checkpoint_seconds": 0.02, "average": 0.9}
    calm, killed = tmp_path / "calm", tmp_path / "killed"
    jobs = []
    for folder in (calm, killed):
        folder.mkdir()
        training = {"epochs": 15, "batch": 100, "optimizer": {"learning_rate": 0.005}, **quick}
        training |= {"check": {"every_epochs": 5, "rows": 100, "steps": 5}}
        jobs.append(write_job(folder, training=training, evaluate={"rows": 100, "apgd_steps": 5, "square_queries": 5}))
    runs, watcher = Runs(), Watcher(killed / "served")
    watcher.start()
    try:
        began = time.monotonic()
        runs.start(jobs[0])
        assert runs.ended() == 0, (calm / "job.yaml.log").read_text()
        takes = time.monotonic() - began
        random, ends = np.random.default_rng(7), list[int]()
        while ends.count(-signal.SIGKILL) < KILLS:
            assert len(ends) < 3 * KILLS, "the runs are over before they are killed"
            pid = runs.start(jobs[1])
            time.sleep(float(random.uniform(0.02, 1) * takes))
            with contextlib.suppress(ProcessLookupError):  # it was faster
                os.kill(pid, signal.SIGKILL)
            ends.append(runs.ended())
            if ends[-1] == 0:  # it got through before the kill: away with what it published, so that the next one must
                _assert_same_weights(killed, calm)
                (killed / "served" / "2").rename(killed / f"published-{len(ends)}")
        runs.start(jobs[1])
        last = runs.ended()
    finally:
        runs.close()
        watcher.stop()
    log = (killed / "job.yaml.log").read_text()
    assert last == 0, log
    assert set(ends) <= {0, -signal.SIGKILL}, log
    assert watcher.looks > 100
    assert watcher.broken == []
    _assert_same_weights(killed, calm)
    assert "going on from step" in log
    assert sorted(path.name for path in (killed / "served").iterdir()) == [".retraining.lock", "1", "2"], log
    assert last_success(killed / "retraining.prom", "digits") is not None
    metrics = [json.loads(line) for line in (killed / "out" / "metrics.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in metrics if line["kind"] == "epoch"] == list(range(1, 16))
    assert not (killed / "out" / "checkpoint.npz").exists()
