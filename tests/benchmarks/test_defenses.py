"""The benchmark of the defenses at a small size: the real attacks against real servers, from start to picture."""

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from benchmarks.defenses import report
from benchmarks.defenses.results import Results, Share
from benchmarks.defenses.scale import EPSILON
from benchmarks.defenses.suite import FULL, TINY, Defense
from proxy.config.schema import Config


@dataclass(frozen=True)
class Finished:
    """A finished run: what it printed, what it kept, and its folder."""

    printed: str
    results: Results
    out: Path


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    out = tmp_path_factory.mktemp("bench")
    command = [sys.executable, "-m", "benchmarks.defenses", "--scale", "tiny", "--data", "digits", "--out", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stderr
    return Finished(done.stdout, Results.model_validate_json((out / "bench-defenses.json").read_text()), out)


@pytest.mark.timeout(300)
def test_every_defense_of_the_suite_is_measured(finished: Finished) -> None:
    assert [line.defense for line in finished.results.evasion] == [defense.name for defense in TINY.evasion]
    assert [line.defense for line in finished.results.secrets] == [defense.name for defense in TINY.secrets]
    for line in finished.results.secrets:
        assert [found.model for found in line.membership] == ["digits", "digits-few"]


@pytest.mark.timeout(300)
def test_attacks_on_the_bare_model_work(finished: Finished) -> None:
    none = finished.results.evasion[0]
    assert none.clean.value > 0.8
    assert none.fgsm.value < none.clean.value
    assert none.adaptive.value <= none.pgd.value
    assert none.square.queries > 1
    assert none.hop.queries > 10


@pytest.mark.timeout(300)
def test_the_chain_costs_time_and_answers_get_less_certain(finished: Finished) -> None:
    chain = finished.results.evasion[-1]
    assert chain.many.defended > chain.many.bare > 0
    none, label_only = finished.results.secrets
    assert none.membership[1].train_accuracy > none.membership[1].test_accuracy
    assert label_only.membership[1].train_accuracy == none.membership[1].train_accuracy  # the predicted class stays


@pytest.mark.timeout(300)
def test_the_tables_can_be_rendered_again_from_what_was_kept(finished: Finished) -> None:
    kept = finished.out / "bench-defenses.json"
    again = subprocess.run(
        [sys.executable, "-m", "benchmarks.defenses.report", str(kept)], capture_output=True, text=True, check=True
    )
    assert again.stdout == finished.printed
    assert all(f"| {defense.name} |" in finished.printed for defense in TINY.evasion)
    assert (finished.out / "bench-defenses.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.timeout(300)
def test_failures_are_marked(finished: Finished) -> None:
    none, *others = finished.results.evasion
    for line in others:
        for attack in report.ATTACKS:
            left = report.accuracy(line, attack)
            overlaps = left.low <= report.accuracy(none, attack).high
            assert report.fails(line, none, attack) == (overlaps or left.low <= 0.1)


@pytest.mark.parametrize("defense", [*FULL.evasion, *FULL.secrets], ids=lambda defense: defense.name)
def test_the_proxy_takes_every_configuration(defense: Defense) -> None:
    config = Config.model_validate({"upstream": "localhost:8500", "models": {"m": defense.rules}})
    rules = config.models["m"]
    steps = [step for rule in (rules.inputs or {}).values() for step in rule.steps]
    assert [step.kind for step in steps] == [step["kind"] for step in defense.inputs]
    assert set(rules.outputs or {}) == set(defense.answers)


@pytest.mark.parametrize(("count", "rows", "low", "high"), [(0, 10, 0.0, 0.2775), (5, 10, 0.2366, 0.7634)])
def test_intervals_are_wilsons(count: int, rows: int, low: float, high: float) -> None:
    share = Share.of(np.arange(rows) < count)
    assert (share.value, share.low, share.high) == pytest.approx((count / rows, low, high), abs=1e-4)


def test_the_bound_is_the_one_that_the_tables_name(finished: Finished) -> None:
    assert finished.results.epsilon == EPSILON == 0.1
    assert "L-inf 0.1" in finished.printed
