"""What every attack keeps to, whatever the deployment does."""

import numpy as np
import pytest

from proxy.drill.attacks import ATTACKS, DISGUISES, Attack, Disguised, Outcome, Target
from tests.drill.attacks.oracles import Deployment, target

SAME = {"active_entropy"}
"""Those that differ from another one in a measure only; training is slow."""
KINDS = [
    (name, images)
    for name, attack in ATTACKS.items()
    for images in (True, False)
    if (images or not attack.images) and name not in SAME
]
QUICK = [(name, images) for name, images in KINDS if not (images and ATTACKS[name].technique == "extraction")]
"""Without thefts of image models, whose networks take long to build; those of tables show the same."""
pytestmark = pytest.mark.filterwarnings("ignore")  # of the toolbox and TensorFlow


def _run(attack: Attack, deployment: Deployment, aim: Target, seed: int = 1) -> Outcome:
    return attack.run(deployment, aim, np.random.default_rng(seed))


def _well_formed(outcome: Outcome, aim: Target, technique: str) -> None:
    if technique == "evasion":
        assert 1 <= len(outcome.adversarial) == outcome.metrics["tried"] <= len(aim.seeds)
        for found, seed in zip(outcome.adversarial, aim.seeds, strict=False):
            assert found.shape[1:] == seed.shape
            assert len(found) <= 100
    if technique == "extraction" and outcome.metrics["trained_on"]:
        assert outcome.surrogate is not None
        assert outcome.surrogate(aim.seeds).shape == (len(aim.seeds), aim.classes)
        assert outcome.surrogate(aim.seeds).sum(axis=1) == pytest.approx(1, abs=1e-4)
    if technique == "inversion":
        assert outcome.inverted.shape == (len(outcome.inverted_labels), *aim.pool.shape[1:])


@pytest.mark.parametrize(("name", "images"), KINDS)
def test_a_small_budget_is_spent_and_never_exceeded(name: str, images: bool) -> None:
    attack = ATTACKS[name]
    aim = target(90, images=images)
    deployment = Deployment(aim.budget)
    outcome = _run(attack, deployment, aim)
    assert deployment.rows <= aim.budget
    assert max(len(rows) for rows in deployment.asked) <= aim.batch
    assert outcome.ended in {"done", "spent"}
    _well_formed(outcome, aim, attack.technique)


@pytest.mark.parametrize(("name", "images"), QUICK)
def test_one_that_is_refused_for_good_gives_up_with_what_it_has(name: str, images: bool) -> None:
    attack = ATTACKS[name]
    aim = target(300, images=images)
    deployment = Deployment(aim.budget, refuses=lambda calls: calls >= 2)
    outcome = _run(attack, deployment, aim)
    assert outcome.ended == "refused"
    assert deployment.calls < 100
    _well_formed(outcome, aim, attack.technique)


@pytest.mark.parametrize(("name", "images"), QUICK)
def test_one_that_never_gets_an_answer_claims_nothing(name: str, images: bool) -> None:
    attack = ATTACKS[name]
    aim = target(300, images=images)
    outcome = _run(attack, Deployment(aim.budget, refuses=lambda _: True), aim)
    assert outcome.ended == "refused"
    assert not any(len(found) for found in outcome.adversarial)
    assert outcome.surrogate is None
    assert outcome.metrics.get("confidence", 0) == 0
    assert np.isnan(outcome.metrics.get("advantage", np.nan))


@pytest.mark.parametrize("name", [name for name, attack in ATTACKS.items() if attack.technique != "extraction"])
def test_single_refusals_do_not_end_it(name: str) -> None:
    aim = target(120)
    deployment = Deployment(aim.budget, refuses=lambda calls: calls % 3 == 1)
    outcome = _run(ATTACKS[name], deployment, aim)
    assert outcome.ended in {"done", "spent"}
    assert deployment.refused > 0


@pytest.mark.parametrize("name", [name for name, attack in ATTACKS.items() if attack.technique != "extraction"])
def test_the_same_dice_ask_the_same_rows(name: str) -> None:
    aim, runs = target(120), []
    for _ in range(2):
        deployment = Deployment(aim.budget)
        before = np.random.get_state()[1].tolist()  # type: ignore[index]  # noqa: NPY002  # that it is left alone
        _run(ATTACKS[name], deployment, aim, seed=4)
        assert np.random.get_state()[1].tolist() == before  # type: ignore[index]  # noqa: NPY002
        runs.append(np.concatenate(deployment.asked))
    assert np.array_equal(runs[0], runs[1])


@pytest.mark.parametrize("disguise", DISGUISES.values(), ids=list(DISGUISES))
def test_a_disguise_keeps_to_the_budget_and_the_range(disguise: object) -> None:
    aim = target(120)
    deployment = Deployment(aim.budget)
    attack = Disguised(ATTACKS["square"], disguise)  # type: ignore[arg-type]
    outcome = _run(attack, deployment, aim)
    assert 0 < deployment.rows <= aim.budget
    assert outcome.ended in {"done", "spent"}
    assert attack.technique == "evasion"
