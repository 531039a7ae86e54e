"""Attacker-made rows stay out of training unless they are labelled, few, and look honest."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("tensorflow", reason="the extra retrain is not installed")

from defenses.retraining.captured import admit
from defenses.retraining.data import DataError, Form, Rows
from defenses.retraining.sources import CapturedRows

FORM = Form((8, 8, 1), 10, 0.0, 1.0)


@pytest.fixture(scope="module")
def sets() -> tuple[Rows, Rows]:
    """Trusted rows, and honest ones of callers, slightly attacked."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    x, y = (bunch.images[..., np.newaxis] / 16).astype(np.float32), bunch.target.astype(np.int32)
    noise = np.random.default_rng(0).choice([-0.1, 0.1], x[1500:1700].shape)
    return Rows(x[:1500], y[:1500]), Rows(np.clip(x[1500:1700] + noise, 0, 1).astype(np.float32), y[1500:1700])


def _file(folder: Path, rows: Rows, callers: Any = None) -> Path:
    callers = [f"caller-{n % 4}" for n in range(len(rows))] if callers is None else callers
    np.savez(folder / "reviewed.npz", x=rows.x, y=rows.y, caller=np.array(callers))
    return folder / "reviewed.npz"


def test_honest_rows_come_in_and_are_capped(tmp_path: Path, sets: tuple[Rows, Rows]) -> None:
    trusted, honest = sets
    file = _file(tmp_path, honest, ["greedy"] * 180 + [f"other-{n}" for n in range(20)])
    source = CapturedRows(file=file, rows_per_caller=30, share=0.03)
    admitted = admit(source, trusted, FORM, 0)
    assert admitted.findings == ()
    assert admitted.added == 45  # 3 % of 1,500
    assert len(admitted.rows) == 1545
    assert file in admitted.rows.files
    wide = admit(source.model_copy(update={"share": 0.5}), trusted, FORM, 0)
    assert wide.added == 30 + 20


def _flipped(honest: Rows) -> Rows:
    return Rows(honest.x, ((honest.y + 1) % 10).astype(np.int32))


def _flipped_here_and_there(honest: Rows) -> Rows:
    y = honest.y.copy()
    y[::7] = (y[::7] + 1) % 10
    return Rows(honest.x, y)


def _backdoored(honest: Rows, every: int = 4) -> Rows:
    x, y = honest.x.copy(), honest.y.copy()
    x[::every, 6:, :2] = 1.0
    y[::every] = 7
    return Rows(x, y)


@pytest.mark.parametrize(
    ("poison", "who"),
    [
        (_flipped, "caller caller-0: "),
        (_flipped_here_and_there, "all callers: "),
        (_backdoored, "class 7: "),
        (lambda honest: _backdoored(honest, every=20), "class 7: "),
    ],
    ids=["flipped", "flipped here and there", "backdoored", "a few backdoored"],
)
def test_poison_is_refused_and_reported_when_forced(
    tmp_path: Path, sets: tuple[Rows, Rows], poison: Any, who: str
) -> None:
    trusted, honest = sets
    file = _file(tmp_path, poison(honest))
    with pytest.raises(DataError, match="looks poisoned") as caught:
        admit(CapturedRows(file=file), trusted, FORM, 0)
    assert who in str(caught.value)
    forced = admit(CapturedRows(file=file, poisoned="report"), trusted, FORM, 0)
    assert any(who.startswith(finding.who) for finding in forced.findings)
    assert forced.added == 75


def test_rows_that_name_no_caller_are_refused(tmp_path: Path, sets: tuple[Rows, Rows]) -> None:
    trusted, honest = sets
    np.savez(tmp_path / "bare.npz", x=honest.x, y=honest.y)
    with pytest.raises(DataError, match="does not say who sent each row"):
        admit(CapturedRows(file=tmp_path / "bare.npz"), trusted, FORM, 0)


def test_a_search_around_one_image_is_no_patch(tmp_path: Path, sets: tuple[Rows, Rows]) -> None:
    trusted, honest = sets
    moves = np.random.default_rng(1).choice([-0.1, 0.1], (100, *honest.x.shape[1:]))
    around = np.clip(honest.x[:1] + moves, 0, 1).astype(np.float32)
    file = _file(tmp_path, Rows(around, np.repeat(honest.y[:1], 100)))
    assert admit(CapturedRows(file=file), trusted, FORM, 0).findings == ()
