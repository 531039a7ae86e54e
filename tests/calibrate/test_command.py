"""`tensorwall calibrate` against a real model, and what comes of it in a real proxy."""

from pathlib import Path

import numpy as np
import pytest

from detectors.profile import Profile
from proxy.__main__ import main
from tests.processes import Backend
from tests.protection.conftest import Protect
from tests.protection.toy import predict

ROWS = np.random.default_rng(0).normal(0, 1, (900, 4))


def command(backend: Backend, data: Path, out: Path, *more: str) -> int:
    arguments = ["--target", backend.address, "--model", "toy", "--input", "x", "--callers", "40"]
    return main(["calibrate", *arguments, "--data", str(data), "--out", str(out), *more])


def test_a_profile_is_learned_and_used(toy: Backend, protect: Protect, tmp_path: Path) -> None:
    data, out = tmp_path / "rows.npz", tmp_path / "toy.json"
    np.savez(data, x=ROWS)
    assert command(toy, data, out, "--rate", "0.02") == 0
    profile = Profile.read(out)
    assert (profile.model, profile.callers, profile.rate, profile.calibrated) == ("toy", 40, 0.02, True)
    assert profile.rows > 500
    assert profile.benign.known
    assert profile.scaling["x"].scale.shape == (4,)
    assert set(np.unique(profile.benign.classes)) <= {0, 1, 2}
    protected = protect({"detection": {"mode": "enforce", "profile": str(out)}})
    assert predict(protected.channel, x=ROWS[:5].astype(np.float32))["probs"].shape == (5, 3)
    assert protected.count("tensorwall_profile_info", profile=profile.digest) == 1
    assert "has no profile" not in protected.proxy.process.log()


def test_the_same_seed_learns_the_same_thresholds(toy: Backend, tmp_path: Path) -> None:
    data = tmp_path / "rows.npy"
    np.save(data, ROWS)
    profiles = []
    for name in ("one.json", "two.json"):
        assert command(toy, data, tmp_path / name) == 0
        profiles.append(Profile.read(tmp_path / name))
    assert profiles[0].salt != profiles[1].salt, "each profile has its own secret"
    one, two = (np.array(each.nearest) for each in profiles)
    np.testing.assert_allclose(one, two, rtol=1e-3)


@pytest.mark.parametrize(
    ("more", "code", "said"),
    [
        (("--rate", "2"), 2, "--rate: 2.0 is no share"),
        (("--logits",), 2, "name it with --output"),
        (("--key", "nothing"), 2, "has no array 'nothing'; it has x"),
        (("--model", "nobody"), 1, "NOT_FOUND"),
        (("--input", "z"), 2, "--input: there is no 'z'; toy takes x"),
        (("--output", "z"), 2, "--output: there is no 'z'; toy gives"),
        (("--seed", "-1"), 2, "--seed: -1 is below 0"),
        (("--target", "127.0.0.1:1"), 1, "UNAVAILABLE"),
        (("--callers", "5"), 2, "too few to say what is usual"),
    ],
)
def test_mistakes_are_told(  # each of them before anything is written
    more: tuple[str, ...],
    code: int,
    said: str,
    toy: Backend,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    data = tmp_path / "rows.npz"
    np.savez(data, x=ROWS)
    assert command(toy, data, tmp_path / "out.json", *more) == code
    assert said in capsys.readouterr().err
    assert not (tmp_path / "out.json").exists()


def test_unreadable_data_and_places(toy: Backend, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    broken = tmp_path / "rows.npz"
    broken.write_bytes(b"no zip")
    assert command(toy, broken, tmp_path / "out.json") == 2
    assert command(toy, tmp_path / "nowhere.npy", tmp_path / "out.json") == 2
    np.save(tmp_path / "flat.npy", np.zeros(5))
    assert command(toy, tmp_path / "flat.npy", tmp_path / "out.json") == 2
    np.save(tmp_path / "rows.npy", ROWS)
    assert command(toy, tmp_path / "rows.npy", tmp_path / "no" / "where.json") == 2
    printed = capsys.readouterr().err
    assert "Traceback" not in printed
    assert "shape (5,) is not (rows, ...)" in printed
