"""What each method is for: a network that holds under attack, on real data, against one trained without."""

from pathlib import Path
from typing import Any

import pytest

tf = pytest.importorskip("tensorflow", reason="the extra retrain is not installed")

from defenses.retraining import run  # noqa: E402
from defenses.retraining.model import ModelError  # noqa: E402
from defenses.retraining.trained import Trained  # noqa: E402
from tests.defenses.retraining import digits  # noqa: E402

pytestmark = pytest.mark.timeout(400)
METHODS: list[dict[str, Any]] = [
    {"kind": "fgsm"},
    {"kind": "fgsm_rs"},
    {"kind": "pgd", "steps": 3, "step": 0.5},
    {"kind": "trades", "steps": 3, "step": 0.5},
    {"kind": "mart", "steps": 3, "step": 0.5},
    {"kind": "ibp"},
    {"kind": "crown_ibp"},
    {"kind": "mtl_ibp"},
]


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return digits.write(tmp_path_factory.mktemp("rows"))


def _trained(folder: Path, rows: Path, method: dict[str, Any], **changes: Any) -> Trained:
    return run.train(run.prepare(digits.job(folder, rows, method, **changes)))


@pytest.fixture(scope="module")
def undefended(rows: Path, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return _trained(tmp_path_factory.mktemp("plain"), rows, {"kind": "fgsm", "clean": 1.0}, training={"epochs": 10})


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method["kind"])
def test_a_method_hardens(tmp_path: Path, rows: Path, undefended: Trained, method: dict[str, Any]) -> None:
    certifies = method["kind"] in ("ibp", "crown_ibp", "mtl_ibp")  # bounds need a ramp
    epsilon = {"value": 0.1, "ramp_epochs": 20 if certifies else 0}
    changes: dict[str, Any] = {"epsilon": epsilon, "training": {"epochs": 40 if certifies else 10}}
    if method["kind"] == "crown_ibp":  # no line bounds a MaxPooling2D
        changes["model"] = {"factory": f"{digits.__name__}:dense", "gives": "probabilities"}
    trained = _trained(tmp_path, rows, method, **changes)
    assert trained.clean > 0.8
    assert trained.robust > undefended.robust + 0.1
    if certifies:
        assert trained.certified is not None
        assert 0.3 < trained.certified <= trained.robust


def test_in_mixed_precision(tmp_path: Path, rows: Path, undefended: Trained) -> None:
    model = {"factory": f"{digits.__name__}:mixed", "settings": {"policy": "mixed_bfloat16"}, "gives": "logits"}
    trained = _trained(tmp_path, rows, METHODS[2], model=model, training={"epochs": 10})
    assert trained.robust > undefended.robust + 0.1
    with pytest.raises(ModelError, match="mixed_bfloat16"):
        _trained(tmp_path, rows, METHODS[2], model=model | {"settings": {"policy": "mixed_float16"}})


def test_in_l2_and_with_weights_perturbed(tmp_path: Path, rows: Path) -> None:
    changes: dict[str, Any] = {"norm": "2", "epsilon": {"value": 0.5}, "training": {"epochs": 10}}
    plain = _trained(tmp_path / "plain", rows, {"kind": "fgsm", "clean": 1.0}, **changes)
    trained = _trained(tmp_path / "hard", rows, METHODS[2], awp={"gamma": 0.005}, **changes)
    assert trained.robust > plain.robust + 0.05
