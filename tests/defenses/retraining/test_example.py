"""The documented example: its text is the file's, and it runs."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from proxy.__main__ import main
from tests.defenses.retraining import digits

pytest.importorskip("tensorflow", reason="the extra retrain is not installed")

DOCS = Path(__file__).parents[3] / "docs"


def test_the_page_shows_the_file() -> None:
    assert (DOCS / "retraining/basic.yaml").read_text() in (DOCS / "retraining.md").read_text()


def test_the_example_is_checked_and_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    shutil.copy(DOCS / "retraining/basic.py", tmp_path)
    with np.load(digits.write(tmp_path)) as rows:
        for name in ("train", "test"):
            np.savez(tmp_path / f"{name}.npz", x=rows["x"] / 16, y=rows["y"])
    text = (DOCS / "retraining/basic.yaml").read_text()
    job = tmp_path / "basic.yaml"

    job.write_text(text)
    assert main(["retrain", "--job", str(job), "--dry-run"]) == 2
    assert "rows of shape (8, 8), and the model takes (28, 28, 1)" in capsys.readouterr().err

    job.write_text(text.replace("basic:network", "basic:digits_network").replace("epochs: 10", "epochs: 2"))
    assert main(["retrain", "--job", str(job), "--dry-run"]) == 0
    assert not (tmp_path / "basic/candidate.keras").exists()
    assert main(["retrain", "--job", str(job)]) == 0
    assert {path.name for path in (tmp_path / "basic").iterdir()} >= {
        "candidate.keras",
        "manifest.json",
        "metrics.jsonl",
    }

    job.write_text(text.replace("kind: fgsm", "kind: magic"))
    assert main(["retrain", "--job", str(job)]) == 2
    assert "basic.yaml:11: method: " in capsys.readouterr().err
