"""That the attacks work on a model without protection, and say no more than is true."""

from dataclasses import replace

import numpy as np
import pytest

from proxy.drill.attacks import ATTACKS, Disguised, Dummies, Moves, Noise, Outcome, Probabilities, Rows, Slow, Target
from proxy.drill.attacks.hunt import Evasion, Hunt
from proxy.drill.attacks.membership import judged
from tests.drill.attacks.oracles import Deployment, Echo, digits, fidelity, target, truth

pytestmark = pytest.mark.filterwarnings("ignore")  # of the toolbox and TensorFlow


def _run(name: str, aim: Target, deployment: Deployment | None = None) -> Outcome:
    return ATTACKS[name].run(deployment or Deployment(aim.budget), aim, np.random.default_rng(2))


def _evaded(outcome: Outcome, aim: Target) -> int:
    """Seeds for which the attacker's nearest row misleads the model itself, within the stated size."""
    return sum(
        bool(len(found))
        and bool(aim.near(seed, found[:1], outcome.norm)[0])
        and bool(truth(found[:1])[0].argmax() != label)
        for seed, label, found in zip(aim.seeds, aim.seed_labels, outcome.adversarial, strict=False)
    )


@pytest.mark.parametrize("images", [True, False])
@pytest.mark.parametrize("name", [name for name, attack in ATTACKS.items() if attack.technique == "evasion"])
def test_an_evasion_misleads_the_model(name: str, images: bool) -> None:
    if ATTACKS[name].images and not images:
        pytest.skip("it takes images only")
    whole = target(600, images=images, seeds=4)
    evaded = 0
    for at in range(4):
        aim = replace(whole, seeds=whole.seeds[[at]], seed_labels=whole.seed_labels[[at]])
        outcome = _run(name, aim)
        assert outcome.metrics["told"] == _evaded(outcome, aim)
        if outcome.metrics["told"]:
            assert 1 <= outcome.metrics["rows_to_success"] <= 600
        evaded += _evaded(outcome, aim)
    assert evaded >= 3


def test_a_search_that_is_done_goes_on_to_the_next_seed() -> None:
    aim = target(600, seeds=4)
    outcome = _run("square", aim)
    assert outcome.metrics["tried"] == len(outcome.adversarial) > 1
    assert outcome.metrics["told"] == _evaded(outcome, aim) / outcome.metrics["tried"]


def test_a_search_that_was_cut_short_when_it_had_just_begun_is_no_failure() -> None:
    def never(rows: Rows) -> Probabilities:
        return np.eye(10, dtype=np.float32)[[int(aim.seed_labels[0])] * len(rows)]

    def asks_ninety(hunt: Hunt, rng: np.random.Generator) -> None:
        hunt(rng.random((90, *hunt.seed.shape), np.float32))

    aim = target(100, seeds=2)
    outcome = Evasion("it", "2", asks_ninety).run(Deployment(100, answers=never), aim, np.random.default_rng(0))
    assert (outcome.metrics["tried"], outcome.ended) == (1, "spent")


@pytest.mark.parametrize(("name", "least"), [("jacobian", 0.8), ("active_margin", 0.85), ("active_entropy", 0.85)])
def test_a_theft_by_choice_agrees_with_the_model(name: str, least: float) -> None:
    aim = target(400)
    outcome = _run(name, aim)
    assert outcome.ended == "spent"
    assert outcome.metrics["trained_on"] == 400
    assert outcome.surrogate is not None
    assert fidelity(outcome.surrogate, images=True) > least


@pytest.mark.parametrize("name", ["knockoff", "copycat"])
def test_a_theft_by_foreign_rows_learns_less_than_by_real_ones(name: str) -> None:
    foreign, real = target(400, images=False), target(400, images=False)
    real = Target(classes=10, budget=400, pool=real.pool)
    thefts = [_run(name, aim) for aim in (foreign, real)]
    assert all(theft.surrogate is not None and theft.metrics["trained_on"] == 400 for theft in thefts)
    worth = [fidelity(theft.surrogate, images=False) for theft in thefts if theft.surrogate]
    assert worth[1] > 0.85
    assert 0.1 < worth[0] < worth[1]


def test_rows_that_were_refused_are_not_learnt_from() -> None:
    aim = target(400)
    deployment = Deployment(400, refuses=lambda calls: calls >= 6)
    outcome = _run("knockoff", aim, deployment)
    assert outcome.ended == "refused"
    assert outcome.metrics["trained_on"] == deployment.rows == 6 * aim.batch
    assert outcome.surrogate is not None


def test_members_of_a_model_that_overfits_are_told_by_confidence() -> None:
    outcome = _run("membership_confidence", target(400))
    assert outcome.metrics["judged"] == 300
    assert outcome.metrics["auc"] > 0.6
    assert outcome.metrics["advantage"] > 0.1


def test_membership_is_judged_of_rows_that_were_answered_and_tells_nothing_by_chance() -> None:
    rng = np.random.default_rng(0)
    members = rng.random(2000) < 0.5
    blind = judged(members, rng.random(2000), None).metrics
    assert abs(blind["auc"] - 0.5) < 0.05
    assert abs(blind["advantage"]) < 0.1
    sure = judged(members, members.astype(float), None).metrics
    assert (sure["auc"], sure["advantage"], sure["tpr_at_1_percent"]) == (1, 1, 1)
    assert _run("membership_label_only", target(100)).metrics["judged"] == 8


def test_an_inversion_climbs_to_what_the_model_takes_for_the_class() -> None:
    outcome = _run("inversion", target(2400))
    says = truth(outcome.inverted)[np.arange(len(outcome.inverted)), outcome.inverted_labels]
    assert says.mean() == pytest.approx(outcome.metrics["confidence"], abs=1e-4)
    assert outcome.metrics["confidence"] > 0.6
    assert -1 <= outcome.metrics["likeness"] <= 1


@pytest.mark.parametrize(("plain", "near"), [("square", 0.8), ("hop_skip_jump", 0.3)])
def test_oars_gets_past_a_detector_that_stops_the_plain_attack(plain: str, near: float) -> None:
    """The detector judges pairs: it refuses whatever is near an earlier row."""
    aim = target(400, seeds=6)
    evaded = []
    for name in (plain, f"oars_{plain}"):
        evaded.append(0)
        for seed, label in zip(aim.seeds, aim.seed_labels, strict=True):
            one = {"seeds": seed[None], "seed_labels": label[None], "batch": 1, "epsilon": 0.2, "radius": 1.3}
            alone = replace(aim, **one)
            evaded[-1] += _evaded(_run(name, alone, _Near(400, near)), alone)
    assert evaded[1] >= evaded[0] + 2


class _Near(Deployment):
    """Refuses rows within a radius (L2) of an earlier one that was answered."""

    def __init__(self, budget: int, radius: float) -> None:
        super().__init__(budget, refuses=lambda _: self._near)
        self._radius, self._near = radius, False

    def __call__(self, rows: Rows) -> Probabilities:
        earlier = np.concatenate(self.asked) if self.asked else rows[:0]
        distances = np.linalg.norm((earlier - rows[:1]).reshape(len(earlier), 64), axis=1)
        self._near = bool((distances < self._radius).any())
        return super().__call__(rows)


def test_oars_does_not_believe_an_answer_that_it_has_seen_before() -> None:
    """Where near rows get an earlier row's answer, nothing that was echoed is counted as found."""
    aim = target(300, seeds=2)
    outcome = _run("oars_hop_skip_jump", aim, Deployment(300, answers=Echo(radius=1.0)))
    for label, found in zip(aim.seed_labels, outcome.adversarial, strict=False):
        assert (truth(found).argmax(axis=1) != label).all()


def test_dummies_take_their_share_of_the_rows() -> None:
    aim = target(400)
    deployment = Deployment(400)
    Disguised(ATTACKS["boundary"], Dummies(0.75)).run(deployment, aim, np.random.default_rng(0))
    known = {row.tobytes() for row in aim.pool}
    dummies = sum(row.tobytes() in known for rows in deployment.asked for row in rows)
    assert dummies / deployment.rows == pytest.approx(0.75, abs=0.05)


def test_noise_and_moves_leave_no_two_rows_alike_and_most_classes_as_they_were() -> None:
    rows, labels = digits()
    images, aim = rows[300:400].reshape(-1, 8, 8, 1), target(400)
    for disguise in (Noise(16 / 255), Moves(pixels=0.5)):
        deployment = Deployment(400)
        oracle = disguise(deployment, aim, np.random.default_rng(0))
        answers = [oracle(images) for _ in range(2)]
        sent = deployment.asked
        assert not any(np.array_equal(*pair) for pair in zip(*sent, strict=True))
        assert (answers[0].argmax(axis=1) == labels[300:400]).mean() > 0.6
        assert (oracle.rows, oracle.refused) == (200, 0)


def test_something_happens_before_each_slow_call() -> None:
    heard: list[int] = []
    aim = target(60)
    deployment = Deployment(60)
    Disguised(ATTACKS["square"], Slow(heard.append)).run(deployment, aim, np.random.default_rng(0))
    assert len(heard) == deployment.calls
    assert sum(heard) == deployment.rows
