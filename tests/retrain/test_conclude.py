"""From a candidate to its publication, and what is refused is not published."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from defenses.retraining.conclude import Conclusion, conclude, versions_of
from defenses.retraining.data import Datasets, Rows
from defenses.retraining.job import Job
from defenses.retraining.manifest import weights_sha256
from defenses.retraining.schedule import last_success
from defenses.retraining.trained import Trained
from tests.defenses.retraining.subjects import EPSILON, classifier, digits, save_served, trained

pytestmark = pytest.mark.timeout(500)


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """Of a server that serves the plainly trained model as version 1."""
    save_served(trained(), tmp_path / "served" / "1")
    return tmp_path / "served"


def job(folder: Path, base: Path, clean_loss: float = 0.02, **publish: Any) -> Job:
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
            "gates": {"clean_loss": clean_loss},
            "publish": {"base": str(base), "textfile": str(folder / "retraining.prom"), **publish},
        }
    )


def finished(folder: Path, robust: bool, **manifest: Any) -> Trained:
    """What a training leaves behind."""
    trained(robust).save(folder / "candidate.keras")
    weights = weights_sha256(classifier(trained(robust)))
    (folder / "manifest.json").write_text(json.dumps({"weights": weights, **manifest}))
    metrics = folder / "metrics.jsonl"
    metrics.write_text('{"kind": "epoch", "step": 14, "loss": 1.0, "accuracy": 0.5}\n')
    return Trained(
        folder / "candidate.keras", metrics, folder / "manifest.json", 14, 1.0, "epochs", 14, 0.5, 0.9, None, None, True
    )


def rows() -> Datasets:
    data = digits()
    train = Rows(data.train, data.train_labels.astype(np.int32))
    test = Rows(data.test, data.test_labels.astype(np.int32))
    return Datasets(train, test, test)


def published(
    folder: Path, base: Path, robust: bool = True, dry_run: bool = False, clean_loss: float = 0.02
) -> Conclusion:
    return concluded(job(folder, base, clean_loss), finished(folder, robust), dry_run)


def concluded(wanted: Job, training: Trained, dry_run: bool = False) -> Conclusion:
    with versions_of(wanted, dry_run) as versions:
        return conclude(wanted, training, rows(), versions, dry_run=dry_run)


def test_a_run_that_was_killed_after_publishing_publishes_nothing_twice(tmp_path: Path, base: Path) -> None:
    first = published(tmp_path, base, clean_loss=0.1)
    assert first.version == base / "2", first.decisions
    (tmp_path / "retraining.prom").unlink()
    again = published(tmp_path, base, clean_loss=0.1)
    assert again.passed
    assert again.outcome == f"These very weights are served already, as {base / '2'}."
    assert sorted(path.name for path in base.iterdir()) == [".retraining.lock", "1", "2"]
    assert last_success(tmp_path / "retraining.prom", "digits") is not None
    assert again.report == first.report


CALLS = """# TYPE tensorwall_calls_total counter
tensorwall_calls_total{{model="digits",code="OK"}} {ok}
tensorwall_calls_total{{model="digits",code="INTERNAL"}} {failed}
"""


def test_a_version_that_callers_fare_worse_with_is_withdrawn(
    tmp_path: Path, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    metrics = tmp_path / "metrics.txt"
    metrics.write_text(CALLS.format(ok=1000, failed=0))

    def later(seconds: float) -> None:
        assert seconds == 300
        assert (base / "2").is_dir(), "it is watched while it is served"
        metrics.write_text(CALLS.format(ok=1060, failed=40))

    monkeypatch.setattr("defenses.retraining.conclude.time.sleep", later)
    watched = job(tmp_path, base, watch={"metrics": str(metrics)}, clean_loss=0.1)
    conclusion = concluded(watched, finished(tmp_path, True))
    assert conclusion.outcome == f"Refused by live metrics; {base / '1'} stays."
    assert conclusion.decisions[-1].reason == "40.0% of 100 calls failed, and 0.0% before."
    assert sorted(path.name for path in base.iterdir()) == [".retraining.lock", ".withdrawn-2", "1"]
    assert "40.0% of 100 calls failed" in conclusion.report.read_text()
    assert not (tmp_path / "retraining.prom").exists()


def test_what_cannot_be_noted_undoes_nothing_and_is_told(tmp_path: Path, base: Path) -> None:
    unwritable = job(tmp_path, base, pushgateway="http://127.0.0.1:9", clean_loss=0.1)
    conclusion = concluded(unwritable, finished(tmp_path, True))
    assert conclusion.passed
    assert (base / "2").is_dir()
    assert "Yet the Pushgateway http://127.0.0.1:9 did not take it: " in conclusion.report.read_text()


def test_poison_that_a_job_let_in_is_in_the_report_and_on_the_card(tmp_path: Path, base: Path) -> None:
    findings = [{"who": "caller <mallory>", "text": "9 of 10 labels differ"}]
    conclusion = concluded(
        job(tmp_path, base, clean_loss=0.1), finished(tmp_path, True, captured={"rows": 10, "findings": findings})
    )
    page = conclusion.report.read_text()
    assert "10 reviewed rows of callers were trained on" in page
    assert "caller &lt;mallory&gt;</td><td>9 of 10 labels differ" in page
    card = (base / "2" / "assets.extra" / "model_card.md").read_text()
    assert "Poison in rows of callers, let in by the job: caller <mallory>: 9 of 10 labels differ." in card


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
