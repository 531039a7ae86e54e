"""The comparison of methods: one command, and what is done is not done again."""

import json
from pathlib import Path

import pytest

from benchmarks.retraining.__main__ import main

# Here and not in the test: it closes the streams of all log handlers, one of which may be pytest's.
pytest.importorskip("art", reason="the extra retrain is not installed")


@pytest.mark.timeout(300)
def test_two_methods_in_no_time(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["--minutes", "0.02", "--data", "digits", "--rows", "40", "--effort", "tiny", "--out", str(tmp_path)]
    main([*command, "--methods", "undefended", "IBP"])
    table = capsys.readouterr().out
    assert "| IBP | " in table
    figures = json.loads((tmp_path / "bench-retraining.json").read_text())["methods"]
    assert set(figures) == {"undefended", "IBP"}
    assert figures["undefended"]["certified"] is None
    assert figures["IBP"]["certified"] is not None
    assert figures["IBP"]["clean"]["rows"] == 40
    assert (tmp_path / "bench-retraining.png").read_bytes().startswith(b"\x89PNG")
    main([*command, "--methods", "IBP"])
    assert "IBP: as measured before" in capsys.readouterr().out
    assert json.loads((tmp_path / "bench-retraining.json").read_text())["methods"]["IBP"] == figures["IBP"]
