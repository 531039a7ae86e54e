"""The comparison of methods: one command, and what is done is not done again."""

import json
from pathlib import Path

import pytest

from benchmarks.retraining.__main__ import main


@pytest.mark.timeout(300)
def test_two_methods_in_no_time(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("art", reason="the extra retrain is not installed")
    command = ["--minutes", "0.02", "--data", "digits", "--rows", "40", "--effort", "tiny", "--out", str(tmp_path)]
    main([*command, "--methods", "undefended", "IBP"])
    table = capsys.readouterr().out
    assert "| IBP | " in table
    figures = json.loads((tmp_path / "bench-retraining.json").read_text())["methods"]
    assert set(figures) == {"undefended", "IBP"}
    assert figures["undefended"]["certified"] is None
    assert figures["IBP"]["certified"] is not None
    assert figures["IBP"]["clean"]["rows"] == 40
    main([*command, "--methods", "IBP"])
    assert "IBP: as measured before" in capsys.readouterr().out
    assert json.loads((tmp_path / "bench-retraining.json").read_text())["methods"]["IBP"] == figures["IBP"]
