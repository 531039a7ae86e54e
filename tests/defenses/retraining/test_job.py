"""What job.yaml may say, and what is told about what it may not."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from defenses.retraining.job import Job
from proxy.config.load import ConfigError, parse_as

GOOD: dict[str, Any] = {
    "name": "digits",
    "model": {"file": "digits.keras", "gives": "logits"},
    "data": {"train": {"kind": "npz", "file": "digits.npz"}},
    "method": {"kind": "trades", "beta": 3},
    "epsilon": {"value": 0.1},
    "training": {"epochs": 3},
    "output": "out",
}


def _read(values: dict[str, Any]) -> Job:
    return parse_as(Job, yaml.safe_dump(values, sort_keys=False), {}, "job.yaml", "see the documentation")


def test_a_short_job_has_its_defaults() -> None:
    job = _read(GOOD)
    assert job.data.validation == 0.1
    assert job.norm == "inf"
    assert job.training.optimizer.kind == "adam"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"methd": {}}, "job.yaml:17: methd: is not a known key"),
        ({"method": {"kind": "trades", "bta": 1}}, "method.trades.bta: is not a known key"),
        ({"method": {"kind": "magic"}}, "job.yaml:9: method: input tag 'magic'"),
        ({"method": {"kind": "ibp"}, "norm": "2"}, "interval bounds are for `norm: inf`"),
        ({"epsilon": {"value": 8}}, "epsilon 8.0 is larger than the inputs' range [0.0, 1.0]"),
        ({"epsilon": {"value": 0.1, "start": 0.2}}, "lower the start"),
        ({"epsilon": {"value": 0.1, "ramp_epochs": 99}}, "it would never be reached; lower epsilon.ramp_epochs"),
        ({"epsilon": {"value": 0}}, "epsilon.value: input should be greater than 0"),
        ({"model": {"gives": "logits"}}, "give either `file` (a .keras file) or `factory`"),
        ({"model": {"factory": "no colon", "gives": "logits"}}, "model.factory"),
        ({"model": {"file": "m.keras", "gives": "logits", "range": [1, 0]}}, "write [lowest, highest]"),
        ({"method": {"kind": "crown_ibp"}, "norm": "2"}, "interval bounds are for `norm: inf`"),
        ({"proxy": {"config": "tensorwall.yaml"}}, "it needs the section publish"),
        ({"privacy": {"noise": 1}, "awp": {"gamma": 0.01}}, "privacy goes neither with awp"),
        ({"privacy": {"noise": 1}, "strategy": "multi_worker"}, "nor with several workers"),
        (
            {
                "data": {"train": GOOD["data"]["train"], "captured": {"file": "r.npz"}},
                "evaluate": {"captured": {"kind": "npz", "file": "r.npz"}},
            },
            "rows that were trained on judge nothing",
        ),
        ({"training": {"epochs": 0}}, "training.epochs: input should be greater than 0"),
        ({"output": None}, "output"),
    ],
)
def test_what_is_wrong_is_named(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        _read(GOOD | change)
    assert message in str(caught.value)


def test_a_checkpoint_belongs_to_what_decides_the_weights() -> None:
    job = _read(GOOD)
    assert _read(GOOD | {"output": "elsewhere"}).digest == job.digest
    assert _read(GOOD | {"seed": 1}).digest != job.digest
    assert job.model_copy(update={"output": Path("x")}).digest == job.digest
