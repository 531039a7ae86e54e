"""From a candidate to the embedded server that serves it, while calls go on; and what is refused is not published."""

import json
import threading
from pathlib import Path

import numpy as np
import pytest

from defenses.retraining.conclude import Conclusion, conclude
from defenses.retraining.data import Datasets, Rows
from defenses.retraining.job import Job
from defenses.retraining.publish import PublishError, publishing
from defenses.retraining.robustness.gradients import fgsm
from defenses.retraining.robustness.subject import of_classifier
from defenses.retraining.schedule import last_success
from defenses.retraining.trained import Trained
from proxy.retrain.through import right_through
from tests.defenses.retraining.subjects import EPSILON, classifier, digits, save_served, trained
from tests.embedded.conftest import connect
from tests.embedded.requests import predict, spec
from tests.processes import serving_backend

pytestmark = pytest.mark.timeout(500)


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """Of a server that serves the plainly trained model as version 1."""
    save_served(trained(), tmp_path / "served" / "1")
    return tmp_path / "served"


def job(folder: Path, base: Path, **gates: float) -> Job:
    return Job.model_validate(
        {
            "name": "digits",
            "model": {"file": str(folder / "start.keras"), "gives": "logits"},
            "data": {"train": {"kind": "npz", "file": str(folder / "unused.npz")}},
            "method": {"kind": "fgsm"},
            "epsilon": {"value": EPSILON},
            "training": {"epochs": 1},
            "output": str(folder),
            "evaluate": {"rows": 120, "steps": 10, "restarts": 1, "apgd_steps": 10, "square_queries": 30},
            "gates": gates,
            "publish": {"base": str(base), "textfile": str(folder / "retraining.prom")},
        }
    )


def finished(folder: Path, robust: bool) -> Trained:
    """What a training leaves behind."""
    trained(robust).save(folder / "candidate.keras")
    (folder / "manifest.json").write_text(json.dumps({"files": {"digits.npz": "0" * 64}}))
    metrics = folder / "metrics.jsonl"
    metrics.write_text('{"kind": "epoch", "step": 14, "loss": 1.0, "accuracy": 0.5}\n')
    return Trained(
        folder / "candidate.keras", metrics, folder / "manifest.json", 14, 1.0, "epochs", 14, 0.5, 0.9, None, True
    )


def rows() -> Datasets:
    data = digits()
    train = Rows(data.train, data.train_labels.astype(np.int32))
    test = Rows(data.test, data.test_labels.astype(np.int32))
    return Datasets(train, test, test)


def published(folder: Path, base: Path, robust: bool = True, dry_run: bool = False, **gates: float) -> Conclusion:
    return conclude(job(folder, base, **gates), finished(folder, robust), rows(), dry_run=dry_run)


def test_the_server_goes_over_to_it_while_calls_go_on(tmp_path: Path, base: Path) -> None:
    data = digits()
    attacked = fgsm(of_classifier("served", classifier(trained())), data.test[:100], data.test_labels[:100], EPSILON)
    with serving_backend({"digits": base}, "--poll", "0.1") as backend:
        before = right_through(backend.address, "digits", attacked, data.test_labels[:100])
        client, stop = connect(backend.address), threading.Event()
        versions: list[int] = []

        def call() -> None:
            while not stop.wait(0.01):
                reply = client.prediction.Predict(predict(spec("digits"), image=digits().test[:1]), timeout=60)
                versions.append(reply.model_spec.version.value)

        caller = threading.Thread(target=call)
        caller.start()
        try:
            conclusion = published(tmp_path, base, clean_loss=0.1)
            assert conclusion.passed, conclusion.decisions
            backend.process.wait_until(lambda: not caller.is_alive() or versions[-1:] == [2], "on version 2", 120)
        finally:
            stop.set()
            caller.join()
        assert versions == sorted(versions)
        assert set(versions) == {1, 2}, "every call was answered, and none by an older version than the one before"
        reply = client.prediction.Predict(predict(spec("digits"), image=digits().test[:5]), timeout=60)
        logits = np.reshape(reply.outputs["logits"].float_val, (5, 10))
        np.testing.assert_allclose(logits, trained(robust=True)(digits().test[:5]), atol=1e-4)
        client.channel.close()
        after = right_through(backend.address, "digits", attacked, data.test_labels[:100])
        assert after.mean() > before.mean() + 0.3, "the attack that worked before does so no more"
    assert conclusion.version == base / "2"
    extra = sorted(path.name for path in (base / "2" / "assets.extra").iterdir())
    assert extra == ["model_card.json", "model_card.md", "tf_serving_warmup_requests"]
    assert last_success(tmp_path / "retraining.prom", "digits") is not None
    assert sorted(path.name for path in base.iterdir()) == [".retraining.lock", "1", "2"]


def test_a_dry_run_touches_nothing(tmp_path: Path, base: Path) -> None:
    conclusion = published(tmp_path, base, dry_run=True, clean_loss=0.1)
    assert conclusion.passed
    assert conclusion.version is None
    assert conclusion.report.is_file()
    assert [path.name for path in base.iterdir()] == ["1"]
    assert not (tmp_path / "retraining.prom").exists()


def test_what_a_gate_refuses_is_reported_and_not_published(tmp_path: Path, base: Path) -> None:
    conclusion = published(tmp_path, base, robust=False)
    assert not conclusion.passed
    assert conclusion.outcome == f"Refused by robust accuracy; {base / '1'} stays."
    assert [path.name for path in base.iterdir() if path.name.isdigit()] == ["1"]
    assert "refused" in conclusion.report.read_text()


def test_a_run_beside_another_is_told_so(tmp_path: Path, base: Path) -> None:
    with publishing(base), pytest.raises(PublishError, match="another run publishes"):
        published(tmp_path, base)
