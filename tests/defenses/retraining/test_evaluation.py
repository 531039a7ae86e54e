"""A plainly trained model against a hardened one, on real rows: evaluation, gates and report of one pair."""

import json
import random
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest

from defenses.retraining.after import Requirements
from defenses.retraining.card import card_of, markdown
from defenses.retraining.evaluation import CLEAN, FGSM, Evaluation, Material, Plan, evaluate
from defenses.retraining.gates import Decision, judge, passed
from defenses.retraining.report import write_report
from defenses.retraining.robustness import ensemble
from defenses.retraining.robustness.ensemble import Effort
from defenses.retraining.robustness.subject import Subject, of_classifier
from defenses.retraining.signatures import Signature, Tensor
from tests.defenses.retraining.subjects import EPSILON, classifier, digits, trained

PLAN = Plan(EPSILON, steps=10, restarts=2, effort=Effort(steps=10, queries=50))
SIGNATURES = {"serving_default": Signature("p", {"x": Tensor("float", (None, 4))}, {"y": Tensor("float", (None, 3))})}
ROWS = 120
pytestmark = pytest.mark.timeout(400)


def material() -> Material:
    data = digits()
    return Material(
        data.test[:ROWS],
        data.test_labels[:ROWS],
        data.train[:ROWS],
        data.train_labels[:ROWS],
        data.test[-20:],
        data.test_labels[-20:],
    )


@pytest.fixture(scope="module")
def plain() -> Subject:
    return of_classifier("served", classifier(trained()))


@pytest.fixture(scope="module")
def served(plain: Subject) -> Evaluation:
    return evaluate(plain, material(), PLAN, 0)


@pytest.fixture(scope="module")
def hardened(served: Evaluation) -> Evaluation:
    subject = of_classifier("candidate", classifier(trained(robust=True)))
    return evaluate(subject, material(), PLAN, 0, transferred=served.adversarial)


def refusals(decisions: list[Decision]) -> dict[str, str]:
    return {each.gate: each.reason for each in decisions if not each.passed}


def test_hardening_shows_and_attacks_agree(served: Evaluation, hardened: Evaluation) -> None:
    assert served.shares()[CLEAN].value > 0.9
    assert served.robust.mean() < 0.3
    assert hardened.robust.mean() > served.robust.mean() + 0.2
    for each in (served, hardened):
        assert each.contradictions == []
        assert (each.adversarial.min(), each.adversarial.max()) >= (0, 0)
        assert np.abs(each.adversarial - material().rows).max() <= EPSILON + 1e-6
        assert [right.mean() for _, right in each.curve][-1] == 0
        assert each.captured is not None
        assert each.captured.rows == 20
        assert sum(own[CLEAN].rows for own in each.per_class().values()) == ROWS
    assert hardened.right["transfer"].mean() >= hardened.robust.mean()


@pytest.mark.parametrize("norm", ["inf", "2"])
def test_square_asks_for_a_row_once_and_repeats_itself(norm: Literal["inf", "2"]) -> None:
    rng = np.random.default_rng(0)
    rows, weights = rng.uniform(0, 1, (12, 12, 12, 1)).astype(np.float32), rng.normal(size=(144, 3)).astype(np.float32)
    asked, radius = list[bytes](), 0.3 if norm == "inf" else 4.0

    def logits(part: Any) -> Any:
        asked.extend(row.tobytes() for row in part.numpy())
        return part.numpy().reshape(-1, 144) @ weights

    subject, random_before = Subject("linear", logits), random.getstate()
    labels = subject.scores(rows).argmax(axis=1)
    effort, found = Effort(queries=100), []
    for _ in range(2):
        asked.clear()
        found.append(
            ensemble.attack(
                ensemble.SQUARE, subject, rows, labels, radius, np.random.default_rng(1), norm=norm, effort=effort
            )
        )
        assert len(asked) < 1.1 * len(set(asked))
    assert (found[0] == found[1]).all()
    assert random.getstate() == random_before
    assert not subject.right(found[0], labels).all()
    moved = (found[0] - rows).reshape(12, -1)
    assert (np.abs(moved).max() if norm == "inf" else np.linalg.norm(moved, axis=1).max()) <= radius + 1e-5


@pytest.mark.parametrize(
    ("norm", "fits", "too_small"),
    [
        ("inf", [(5, 5), (8, 8), (9, 10), (28, 28)], [(3, 3), (4, 4), (10, 28), (28, 10)]),
        ("2", [(10, 10), (12, 12), (28, 28)], [(8, 8), (9, 9), (11, 11), (13, 13), (10, 28)]),
    ],
)
def test_square_is_for_images_that_its_squares_fit_into(
    norm: Literal["inf", "2"], fits: list[tuple[int, int]], too_small: list[tuple[int, int]]
) -> None:
    def logits(part: Any) -> Any:
        return part.numpy().reshape(len(part), -1)[:, :2]

    for size in fits:
        assert ensemble.SQUARE in ensemble.names(2, (*size, 3), norm)
        rows = np.random.default_rng(0).uniform(0.4, 0.6, (2, *size, 3)).astype(np.float32)
        found = ensemble.attack(
            ensemble.SQUARE,
            Subject("two pixels", logits),
            rows,
            np.zeros(2, int),
            0.1,
            np.random.default_rng(1),
            norm=norm,
            effort=Effort(queries=3),
        )
        assert np.isfinite(found).all()
    for size in too_small:
        assert ensemble.SQUARE not in ensemble.names(2, (*size, 3), norm)


def test_the_same_seed_gives_the_same_result(plain: Subject) -> None:
    few = Material(digits().test[:20], digits().test_labels[:20])
    first, second = (evaluate(plain, few, PLAN, 3) for _ in range(2))
    assert first.as_json() == second.as_json()
    assert (first.adversarial == second.adversarial).all()


def test_the_hardened_model_passes_and_the_figures_are_in_the_reasons(served: Evaluation, hardened: Evaluation) -> None:
    decisions = judge(hardened, served, SIGNATURES, SIGNATURES, Requirements(clean_loss=0.1))
    assert passed(decisions)
    robust = next(each.reason for each in decisions if each.gate == "robust accuracy")
    assert f"{served.robust.mean():.1%} to {hardened.robust.mean():.1%}" in robust


def test_what_is_not_better_than_the_served_model_is_refused(served: Evaluation) -> None:
    assert list(refusals(judge(served, served, SIGNATURES, SIGNATURES, Requirements()))) == ["robust accuracy"]


def test_a_rise_that_may_be_luck_is_refused(served: Evaluation) -> None:
    lucky = {name: right.copy() for name, right in served.right.items()}
    won = np.flatnonzero(~served.robust & served.right[CLEAN])[:4]
    for right in lucky.values():
        right[won] = True
    decisions = judge(replace(served, right=lucky), served, SIGNATURES, SIGNATURES, Requirements(robust_gain=0.02))
    assert "may be luck" in refusals(decisions)["robust accuracy"]


def test_a_loss_of_clean_accuracy_is_refused(served: Evaluation, hardened: Evaluation) -> None:
    worse = {**hardened.right, CLEAN: hardened.right[CLEAN] & (np.arange(ROWS) % 5 > 0)}
    decisions = judge(replace(hardened, right=worse), served, SIGNATURES, SIGNATURES, Requirements())
    assert "may fall by 2.0% at most" in refusals(decisions)["clean accuracy"]


def test_changed_signatures_are_refused(served: Evaluation, hardened: Evaluation) -> None:
    changed = {"serving_default": Signature("p", {"x": Tensor("float", (None, 5))}, {"z": Tensor("float", (None, 3))})}
    decisions = judge(hardened, served, changed, SIGNATURES, Requirements(clean_loss=0.1))
    assert refusals(decisions) == {
        "signatures": "callers would notice: serving_default: input x is float[?, 5] instead of float[?, 4]; "
        "serving_default: output y is missing; serving_default: output z is new."
    }


def test_models_on_different_rows_cannot_be_compared(served: Evaluation) -> None:
    with pytest.raises(ValueError, match="different rows"):
        judge(replace(served, labels=served.labels[::-1]), served, SIGNATURES, SIGNATURES, Requirements())


def test_masked_gradients_are_found_and_refused(plain: Subject, served: Evaluation) -> None:
    """The served model behind a rounding of its logits: as easily fooled as before, and no gradient says how."""
    import tensorflow as tf

    hidden = Subject("hidden", lambda rows: tf.round(plain.logits(rows) * 4) / 4)
    masked = evaluate(hidden, material(), PLAN, 0, transferred=served.adversarial)
    assert masked.right[PLAN.pgd].mean() > served.right[PLAN.pgd].mean() + 0.3, "looks far stronger"
    signs = masked.contradictions
    assert any(sign.startswith("black-box does better than white-box: ") for sign in signs), signs
    assert (
        "cannot be believed"
        in refusals(judge(masked, served, SIGNATURES, SIGNATURES, Requirements()))["masked gradients"]
    )


def test_results_from_elsewhere_count_as_black_box(hardened: Evaluation) -> None:
    broken = hardened.under("through the proxy", np.zeros(ROWS, bool))
    assert broken.robust.sum() == 0
    assert any("through the proxy breaks" in sign for sign in broken.contradictions)


def test_one_step_that_beats_many_is_named(hardened: Evaluation) -> None:
    odd = replace(hardened, right={**hardened.right, FGSM: np.zeros(ROWS, bool)})
    assert any(sign.startswith("one step does better than many") for sign in odd.contradictions)


def test_the_report_stands_alone(served: Evaluation, hardened: Evaluation, tmp_path: Path) -> None:
    decisions = judge(hardened, served, SIGNATURES, SIGNATURES, Requirements(clean_loss=0.0))
    card = card_of("di<gits", "2026-01-01T00:00:00Z", {"job": "<script>"}, hardened, served, decisions)
    history = [
        {"kind": "epoch", "step": 10, "loss": 2.0, "accuracy": 0.5},
        {"kind": "check", "step": 10, "clean": 0.6, "robust": 0.2},
    ]
    path = write_report(tmp_path, card, hardened, served, decisions, "An outcome.", material().rows, history)
    page = path.read_text()
    assert "di&lt;gits" in page
    assert "<script" not in page
    assert page.count("<svg") == 2
    assert page.count("data:image/png;base64,") >= 3
    assert not re.search(r"""(?:src|href|url)\s*[=(]\s*["']?\s*(?:https?:)?//""", page), "it loads nothing"
    HTMLParser().feed(page)
    figures = json.loads((tmp_path / "report.json").read_text())
    assert figures["evaluation"]["accuracy"]["robust"]["value"] == pytest.approx(hardened.robust.mean())
    text = markdown(card)
    assert f"| robust | {hardened.shares()['robust']} | {served.shares()['robust']} |" in text
