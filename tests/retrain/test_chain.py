"""The whole way: traffic is captured, reviewed and judged by; a job trains, passes its gates and publishes.

The server takes the version up while the proxy goes on answering, and attacks that worked through it do so no more.
"""

import json
import threading
import time
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from defenses.retraining.robustness.gradients import fgsm
from defenses.retraining.robustness.subject import of_classifier
from defenses.retraining.schedule import last_success
from detectors.profile import Profile
from proxy.__main__ import main
from proxy.retrain.through import right_through
from tests.defenses.retraining.subjects import EPSILON, classifier, digits, trained
from tests.embedded.conftest import connect
from tests.embedded.requests import predict, spec
from tests.processes import serving_backend, serving_proxy
from tests.retrain.jobs import candidate_weights, write_job

pytest.importorskip("google_crc32c", reason="the extra capture is not installed")

ROWS = 100


class Caller(threading.Thread):
    """Calls without end; `versions` are those that answered, `failures` what did not."""

    def __init__(self, address: str) -> None:
        super().__init__()
        self._address, self._over = address, threading.Event()
        self.versions, self.failures = list[int](), list[str]()

    def run(self) -> None:
        client = connect(self._address)
        request = predict(spec("digits"), image=digits().test[:1])
        while not self._over.wait(0.01):
            try:
                reply = client.prediction.Predict(request, timeout=60, metadata=(("x-forwarded-for", "10.0.0.2"),))
                self.versions.append(reply.model_spec.version.value)
            except grpc.RpcError as error:
                self.failures.append(f"{error.code()}: {error.details()}")
        client.channel.close()

    def stop(self) -> None:
        self._over.set()
        self.join()


def _as(caller: str) -> Any:
    return (("x-forwarded-for", caller),)


def _reviewed(folder: Path, attacked: Any, labels: Any) -> Path:
    """The reviewer's part: labels for the rows that were captured, by what the reviewer knows of them."""
    command = ["quarantine", "--capture", str(folder / "captured"), "--model", "digits", "--rows-per-caller", "80"]
    assert main([*command, "--out", str(folder / "quarantine.npz")]) == 0
    known = {row.tobytes(): int(label) for row, label in zip(attacked, labels, strict=True)}
    with np.load(folder / "quarantine.npz") as held:
        assert "y" not in held
        lines = [
            f"{digest},{known[row.tobytes()]}"
            for row, digest in zip(held["x"], held["sha256"], strict=True)
            if row.tobytes() in known
        ]
    (folder / "labels.csv").write_text("\n".join(["sha256,label", *lines]) + "\n")
    out = folder / "reviewed.npz"
    assert main([*command, "--labels", str(folder / "labels.csv"), "--out", str(out)]) == 0
    return out


@pytest.mark.timeout(900)
def test_from_captured_traffic_to_a_version_that_holds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = digits()
    labels = data.test_labels[:ROWS]
    attacked = fgsm(of_classifier("served", classifier(trained())), data.test[:ROWS], labels, EPSILON)
    settings = tmp_path / "proxy.yaml"
    settings.write_text("upstream: 127.0.0.1:1\nmodels: {digits: {}}\n")
    profile = tmp_path / "digits.profile.json"
    job = write_job(
        tmp_path,
        evaluate={"captured": {"kind": "npz", "file": str(tmp_path / "reviewed.npz")}},
        proxy={"config": str(settings), "rows": 10, "queries": 20, "profile": str(profile), "callers": 40},
    )
    capture = {"path": str(tmp_path / "captured"), "models": {"digits": 1.0}, "file_records": 1}
    identity = {"order": ["forwarded_for"]}
    with (
        serving_backend({"digits": tmp_path / "served"}, "--poll", "0.1") as backend,
        serving_proxy(tmp_path, backend.address, models={"digits": {}}, capture=capture, identity=identity) as proxy,
    ):
        before = right_through(proxy.address, "digits", attacked, labels, metadata=_as("10.0.0.66"))
        benign = right_through(
            proxy.address, "digits", data.test[ROWS:], data.test_labels[ROWS:], metadata=_as("10.0.0.1")
        )
        assert benign.mean() > 0.9
        _captured_until(tmp_path / "captured", calls=4)
        _reviewed(tmp_path, attacked, labels)
        caller = Caller(proxy.address)
        caller.start()
        try:
            assert main(["retrain", "--job", str(job)]) == 0, capsys.readouterr()
            proxy.process.wait_until(lambda: caller.versions[-1:] == [2], "answering by version 2", 120)
        finally:
            caller.stop()
        after = right_through(proxy.address, "digits", attacked, labels, metadata=_as("10.0.0.67"))
        served = _logits(proxy.address, data.test[:5])
    assert caller.failures == []
    assert caller.versions == sorted(caller.versions), "none was answered by an older version than the one before"
    assert set(caller.versions) == {1, 2}
    assert before.mean() < 0.5
    assert after.mean() > before.mean() + 0.3, "what worked through the proxy before does so no more"
    np.testing.assert_allclose(served, _answers(candidate_weights(tmp_path), data.test[:5]), atol=1e-4)
    _left_behind(tmp_path, profile)


def _captured_until(folder: Path, calls: int) -> None:
    deadline = time.monotonic() + 30
    while len(list(folder.rglob("*.tfrecord"))) < calls:
        assert time.monotonic() < deadline, list(folder.rglob("*"))
        time.sleep(0.02)


def _logits(address: str, rows: Any) -> Any:
    client = connect(address)
    reply = client.prediction.Predict(predict(spec("digits"), image=rows), timeout=60, metadata=_as("10.0.0.3"))
    client.channel.close()
    return np.reshape(reply.outputs["logits"].float_val, (len(rows), 10))


def _answers(weights: list[Any], rows: Any) -> Any:
    """Of the network of subjects.trained, by hand."""
    hidden = np.maximum(rows.reshape(len(rows), -1) @ weights[0] + weights[1], 0)
    return hidden @ weights[2] + weights[3]


def _left_behind(folder: Path, profile: Path) -> None:
    extra = sorted(path.name for path in (folder / "served" / "2" / "assets.extra").iterdir())
    assert extra == ["model_card.json", "model_card.md", "tf_serving_warmup_requests"]
    assert sorted(path.name for path in (folder / "served").iterdir()) == [".retraining.lock", "1", "2"]
    assert last_success(folder / "retraining.prom", "digits") is not None
    report = json.loads((folder / "out" / "report.json").read_text())
    for part in ("evaluation", "replaces"):
        through = report[part]["accuracy"]
        assert through["PGD through the proxy"]["rows"] == through["Square through the proxy"]["rows"] == 120
        assert report[part]["captured"]["rows"] >= 50
    assert report["replaces"]["captured"]["value"] < report["evaluation"]["captured"]["value"]
    assert str(folder / "reviewed.npz") in report["training"]["files"]
    assert "PGD through the proxy" in (folder / "out" / "report.html").read_text()
    assert Profile.read(profile).calibrated
    assert f"Its benign profile {Profile.read(profile).digest} is in {profile}" in report["outcome"]
