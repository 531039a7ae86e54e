"""Which rules are in force for whom."""

import pytest

from proxy.config.schema import Config
from proxy.identity import Caller
from proxy.limits.descriptors import share
from proxy.protection import GuardTable

ROUND = {"semantics": "probabilities", "steps": [{"kind": "round", "decimals": 2}]}
LEVELS = {"range": [0, 1], "steps": [{"kind": "bit_depth", "bits": 4}]}


@pytest.mark.parametrize("percents", [(0, 100), (100, 100), (30, 60), (60, 30), (50, 50), (0.5, 99.5)])
def test_a_rule_is_in_force_for_callers_below_its_percentage_and_in_shadow_for_the_others(
    percents: tuple[float, float],
) -> None:
    of_inputs, of_outputs = percents
    model = {
        "inputs": {"x": LEVELS | {"percent": of_inputs}, "y": LEVELS | {"mode": "shadow"}},
        "outputs": {"p": ROUND | {"percent": of_outputs}},
    }
    config = Config.model_validate({"upstream": "localhost:1", "models": {"m": model}})
    upstream, metrics = None, None  # nobody is asked, nothing is counted
    table = GuardTable(config, upstream, metrics)  # type: ignore[arg-type]
    for number in range(300):
        caller = _caller(f"peer:{number}")
        guards = table.of("m", caller)
        assert [guard.enforced for guard in guards.inputs] == [share(caller.id) < of_inputs, False]
        assert [guard.enforced for guard in guards.outputs] == [share(caller.id) < of_outputs]
        assert table.of("m", caller) is guards, "made once"


def _caller(name: str) -> Caller:
    return Caller(name, "peer", "network:10.0.0.0/24", None, "10.0.0.1")
