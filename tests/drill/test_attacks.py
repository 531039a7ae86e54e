"""The attacks by themselves, against small models in this process: what they spend, and what they end with."""

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from proxy.drill.attacks import ATTACKS, DISGUISES, BudgetSpentError, Disguised, RefusedError, Rows, Slow, Target
from proxy.drill.attacks.contract import Probabilities

SIDE = 8
PLAIN = ["oars_square", "oars_hop_skip_jump", "membership_confidence", "membership_label_only", "inversion"]
"""Written here; the others load the toolbox and TensorFlow."""
RNG = np.random.default_rng(0)
WEIGHTS = RNG.normal(0, 1, (SIDE * SIDE, 3)).astype(np.float32)


def softmax(rows: Rows) -> Probabilities:
    """A linear model of three classes."""
    logits = 3 * (rows.reshape(len(rows), -1) - 0.5) @ WEIGHTS
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True), np.float32)


class Here:
    """An oracle in this process. Refuses calls for which `refuses` says so; keeps what was asked."""

    def __init__(self, budget: int, refuses: Callable[[int], bool] = lambda call: False) -> None:
        self.rows = self.refused = self.calls = 0
        self.asked: list[Rows] = []
        self._budget, self._refuses = budget, refuses

    def __call__(self, rows: Rows) -> Probabilities:
        if self.rows + len(rows) > self._budget:
            raise BudgetSpentError
        assert rows.dtype == np.float32
        assert rows.min() >= 0
        assert rows.max() <= 1
        self.calls += 1
        if self._refuses(self.calls):
            self.refused += len(rows)
            raise RefusedError
        self.rows += len(rows)
        self.asked.append(rows)
        return softmax(rows)


def target(budget: int, images: bool = True, epsilon: float = 0.2) -> Target:
    rows = np.random.default_rng(1).random((260, SIDE, SIDE, 1) if images else (260, SIDE * SIDE), np.float32)
    labels = softmax(rows).argmax(axis=1)
    return Target(
        classes=3,
        budget=budget,
        seeds=rows[:1],
        seed_labels=labels[:1],
        pool=rows[1:200],
        pool_labels=labels[1:200],
        members=rows[200:230],
        member_labels=labels[200:230],
        others=rows[230:],
        other_labels=labels[230:],
        epsilon=epsilon,
        radius=10 * epsilon,
        batch=8,
    )


ON_TABLES = [name for name, attack in ATTACKS.items() if not attack.images and attack.technique != "extraction"]
FORMS = [*((name, True) for name in ATTACKS), *((name, False) for name in (*ON_TABLES, "jacobian"))]
"""Names, and whether rows are images. Thefts train a network, which takes seconds: once on a table is enough."""


@pytest.mark.parametrize(("name", "images"), FORMS)
def test_an_attack_stays_within_its_budget_and_says_how_it_ended(name: str, images: bool) -> None:
    oracle = Here(150)
    outcome = ATTACKS[name].run(oracle, target(150, images), np.random.default_rng(0))
    assert 0 < oracle.rows <= 150
    assert outcome.ended in ("done", "spent")
    if ATTACKS[name].technique == "extraction":
        assert outcome.surrogate is not None
        held = target(1, images).pool
        fidelity = (outcome.surrogate(held).argmax(axis=1) == softmax(held).argmax(axis=1)).mean()
        assert fidelity > 0.45, "a guess is right in a third"
    for told in outcome.adversarial:
        assert (softmax(told).argmax(axis=1) != target(1, images).seed_labels[0]).all(), "what it was told is so"


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_that_is_refused_for_good_gives_up(name: str) -> None:
    oracle = Here(150, lambda call: True)
    outcome = ATTACKS[name].run(oracle, target(150), np.random.default_rng(0))
    assert (outcome.ended, oracle.rows) == ("refused", 0)
    assert outcome.surrogate is None
    assert not any(len(told) for told in outcome.adversarial)


@pytest.mark.parametrize("name", PLAIN)
def test_a_few_refusals_are_got_over_and_dice_are_seeded(name: str) -> None:
    def once() -> tuple[Here, dict[str, float]]:
        oracle = Here(200, lambda call: call % 7 == 3)
        return oracle, ATTACKS[name].run(oracle, target(200, epsilon=0.01), np.random.default_rng(5)).metrics

    (one, first), (other, second) = once(), once()
    assert one.refused > 0
    assert one.rows > 50
    np.testing.assert_array_equal(np.concatenate(one.asked), np.concatenate(other.asked))
    np.testing.assert_equal(first, second)


@pytest.mark.parametrize("name", ["hop_skip_jump", "square", "simba", "oars_square", "oars_hop_skip_jump"])
def test_an_evasion_succeeds_where_nothing_is_in_its_way(name: str) -> None:
    aim = target(1500)
    outcome = ATTACKS[name].run(Here(1500), aim, np.random.default_rng(0))
    assert aim.near(aim.seeds[0], outcome.adversarial[0], outcome.norm).any()


@pytest.mark.parametrize("disguise", DISGUISES)
def test_disguises_change_what_is_sent_and_not_who_pays(disguise: str) -> None:
    plain, oracle = Here(120), Here(120)
    aim = target(120, epsilon=0.01)
    ATTACKS["oars_square"].run(plain, aim, np.random.default_rng(0))
    Disguised(ATTACKS["oars_square"], DISGUISES[disguise]).run(oracle, aim, np.random.default_rng(0))
    assert oracle.rows <= 120
    sent, before = np.concatenate(oracle.asked), np.concatenate(plain.asked)
    shared = min(len(sent), len(before))
    assert not np.array_equal(sent[:shared], before[:shared])
    if disguise == "dummies":
        own = {row.tobytes() for row in target(120).pool}
        assert 0.4 < np.mean([row.tobytes() in own for row in sent]) < 0.7


def test_a_slow_attack_waits_before_each_call() -> None:
    passed: list[int] = []
    oracle = Here(30)
    attack = Disguised(ATTACKS["oars_square"], Slow(passed.append))
    attack.run(oracle, target(30, epsilon=0.01), np.random.default_rng(0))
    assert sum(passed) >= oracle.rows == 30


def test_oars_gets_past_a_detector_of_pairs() -> None:
    """It refuses rows that are near to one of the last, as a pair detector does; proposals then keep their distance."""
    seen: list[NDArray[np.float32]] = []

    class Pairs(Here):
        def __call__(self, rows: Rows) -> Probabilities:
            near = seen and min(float(np.abs(row - rows[0]).max()) for row in seen[-20:]) < 0.05
            if len(rows) == 1 and near:
                self.refused += 1
                raise RefusedError
            seen.append(rows[0])
            return super().__call__(rows)

    oracle = Pairs(400)
    outcome = ATTACKS["oars_square"].run(oracle, target(400), np.random.default_rng(0))
    assert len(outcome.adversarial[0]), "it finds its way round"
