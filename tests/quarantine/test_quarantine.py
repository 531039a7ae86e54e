"""From captured files to rows for a reviewer, and from the reviewer's labels to rows for a job."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from proxy.__main__ import main
from tests.capture.made import call, write

pytest.importorskip("google_crc32c", reason="the extra capture is not installed")


@pytest.fixture
def captured(tmp_path: Path) -> Path:
    greedy = [call(1000 + n, rows=[[n, n, n, n]], who="10.0.0.9") for n in range(50)]
    shy = [call(1000.5, rows=[[0.5, 0, 0, 0], [0.25, 0, 0, 0]]), call(1001.5, rows=[[0.5, 0, 0, 0]])]
    odd = [call(1002, rows=[[np.nan, 0, 0, 0]]), call(1003, model="other")]
    return write(tmp_path / "captured" / "a.tfrecord", [*greedy, *shy, *odd])


def _run(captured: Path, *arguments: str) -> tuple[int, dict[str, Any]]:
    out = captured.parent / "rows.npz"
    code = main(["quarantine", "--capture", str(captured), "--model", "toy", "--out", str(out), *arguments])
    with np.load(out) if out.exists() else _Nothing() as arrays:
        return code, dict(arrays)


class _Nothing(dict[str, Any]):
    def __enter__(self) -> "_Nothing":
        return self

    def __exit__(self, *_: object) -> None:
        return None


def test_callers_are_capped_rows_kept_once_and_no_answer_is_a_label(
    captured: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, arrays = _run(captured, "--rows-per-caller", "10")
    assert code == 0
    assert set(arrays) == {"x", "caller", "sha256", "time"}
    callers, counts = np.unique(arrays["caller"], return_counts=True)
    assert dict(zip(callers.tolist(), counts.tolist(), strict=True)) == {
        "forwarded_for:10.0.0.1": 2,
        "forwarded_for:10.0.0.9": 10,
    }
    assert capsys.readouterr().out == "12 rows of 2 callers; left out: 40 cap, 1 repeated, 1 unread\n"
    assert (captured.parent / "rows.npz").stat().st_mode & 0o777 == 0o600


def test_the_sample_follows_from_the_seed_and_not_from_the_order(captured: Path) -> None:
    first = _run(captured, "--rows-per-caller", "10")[1]
    again = _run(captured, "--rows-per-caller", "10")[1]
    other = _run(captured, "--rows-per-caller", "10", "--seed", "1")[1]
    assert first["sha256"].tolist() == again["sha256"].tolist()
    assert set(first["sha256"]) != set(other["sha256"])
    assert first["x"][:, 0].max() > 9  # not the first ten that came


def test_only_what_a_reviewer_labelled_gets_a_label(captured: Path, tmp_path: Path) -> None:
    digests = _run(captured, "--rows-per-caller", "10")[1]["sha256"]
    file = tmp_path / "labels.csv"
    file.write_text(f"sha256,label\n{digests[0]},2\n{digests[5]},1\n{'0' * 64},1\n")
    code, arrays = _run(captured, "--rows-per-caller", "10", "--labels", str(file))
    assert code == 0
    assert dict(zip(arrays["sha256"].tolist(), arrays["y"].tolist(), strict=True)) == {digests[0]: 2, digests[5]: 1}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("digest,label\n", "labels.csv:1: the columns sha256 and label are expected"),
        ("sha256,label\nab,cat\n", "labels.csv:2: 'cat' is no class"),
        ("sha256,label\nab,1\nab,2\n", "labels.csv:3: ab has two labels"),
    ],
)
def test_labels_that_cannot_be_used(
    captured: Path, tmp_path: Path, text: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "labels.csv"
    file.write_text(text)
    assert _run(captured, "--labels", str(file))[0] == 2
    assert message in capsys.readouterr().err


def test_a_model_that_nobody_called(captured: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _run(captured, "--model", "none")[0] == 1
    assert "nothing to keep of the model 'none'" in capsys.readouterr().err


def _reviewer(folder: Path, text: str) -> str:
    """The command of a program that has the arrays `rows`."""
    program = folder / "a reviewer.py"
    program.write_text(f"import sys, numpy as np\nrows = np.load(sys.argv[-1])\n{text}\n")
    return f"{sys.executable} '{program}' --team fraud"


def test_a_reviewers_command_labels(captured: Path, tmp_path: Path) -> None:
    text = "assert sys.argv[1:3] == ['--team', 'fraud'] and 'y' not in rows\nprint('sha256,label')\n"
    text += "for digest, row in zip(rows['sha256'], rows['x']):\n    if row[0] < 1: print(f'{digest},3')"
    code, arrays = _run(captured, "--rows-per-caller", "10", "--reviewer", _reviewer(tmp_path, text))
    assert code == 0
    assert arrays["y"].tolist() == [3] * len(arrays["x"])
    assert sorted(arrays["x"][:, 0].tolist())[-2:] == [0.25, 0.5]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sys.exit(3)", "ended with exit code 3; nothing is labelled"),
        ("print('a cat')", "printed no labels: 1: the columns sha256 and label are expected"),
    ],
)
def test_a_reviewers_command_that_fails(
    captured: Path, tmp_path: Path, text: str, message: str, capfd: pytest.CaptureFixture[str]
) -> None:
    code, arrays = _run(captured, "--reviewer", _reviewer(tmp_path, text))
    assert (code, arrays) == (1, {})
    assert message in capfd.readouterr().err


def test_a_reviewers_command_that_is_none(captured: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _run(captured, "--reviewer", "/nowhere/reviewer")[0] == 1
    assert "/nowhere/reviewer cannot be run: No such file" in capsys.readouterr().err
    with pytest.raises(SystemExit) as raised:
        _run(captured, "--reviewer", "an 'open quote")
    assert raised.value.code == 2
