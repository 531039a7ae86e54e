"""What a flagged row tells, over real proxies that flag a search's neighbourhood."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from detectors.profile import Profile
from proxy.drill.accounts import addresses
from proxy.drill.choice import attack
from proxy.drill.material import Material, read
from proxy.drill.results import Telling
from proxy.drill.telling import PROBES, told
from proxy.drill.watching import Admin
from proxy.drill.wire import DrillError, Model
from tests.processes import TOKEN
from tests.protection.conftest import Protect

Telled = Callable[[str, int], Telling]


@pytest.fixture
def telled(protect: Protect, data: Path, tmp_path: Path) -> Telled:
    """Measures it against a proxy with this answer, which flags a search after so many rows."""
    replace(Profile.defaults("toy", b"0123456789abcdef"), calibrated=True).write(tmp_path / "toy.json")

    def measure(answer: str, most: int) -> Telling:
        detection = {
            "mode": "enforce",
            "profile": str(tmp_path / "toy.json"),
            "own": [{"path": "tests.drill.own:Around", "settings": {"most": most, "radius": 0.5}}],
            "policy": {"evasion": {"answer": answer}},
            "delay": [0, 0.001],
        }
        protected = protect({"detection": detection}, identity={"order": ["forwarded_for"]})
        token = tmp_path / "token"
        token.write_text(TOKEN)
        rng = np.random.default_rng(0)
        parts, scale = read(data, None, rng)
        material = Material("toy", **parts, epsilon=0.001)
        accounts = addresses(1 + PROBES)
        with Model(protected.proxy.address, "toy", scale, metadata=accounts[1].metadata) as model:
            admin = Admin(protected.proxy.admin, "toy", token)
            return told(model, admin, material, attack("oars_square"), accounts, answer, 0, [0], rng)

    return measure


def test_refusals_tell_and_silence_tells_by_its_answers_alone(telled: Telled) -> None:
    refusing, silent = telled("refuse", 40), telled("silent", 40)
    assert refusing.probes == silent.probes == PROBES
    assert refusing.by["refusals"] > 0.8
    assert refusing.bits > 0.3
    assert silent.by["refusals"] == pytest.approx(0.5, abs=0.01)
    assert silent.by["answers"] > 0.7, "two rows, one answer"


def test_where_nothing_is_flagged_there_is_nothing_to_tell(telled: Telled) -> None:
    with pytest.raises(DrillError, match="was not acted on in"):
        telled("silent", 10**6)
