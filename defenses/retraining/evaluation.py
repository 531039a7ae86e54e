"""What a model is worth on some rows: clean and under attacks, with intervals, and whether to believe it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from defenses.retraining.confidence import calibration_error, membership_advantage
from defenses.retraining.intervals import Right, Share, share
from defenses.retraining.robustness import ensemble
from defenses.retraining.robustness.gradients import Norm, fgsm, pgd
from defenses.retraining.robustness.masking import contradictions
from defenses.retraining.robustness.subject import Labels, Rows, Subject

CLEAN, FGSM, SHORT, LONG = "clean", "FGSM", "PGD, one start", "PGD, one start, 4 x the steps"
TRANSFER = "transfer"
CURVE_STEPS = 20

Say = Callable[[str], None]


@dataclass(frozen=True)
class Plan:
    """How a model is evaluated.

    Attributes:
        epsilon: radius of the attacks, in units of the rows' values.
        norm: of the radius.
        steps, restarts: of PGD.
        effort: of the ensemble.
        curve: radii, in multiples of epsilon; the whole range is added.
    """

    epsilon: float = 0.1
    norm: Norm = "inf"
    steps: int = 50
    restarts: int = 10
    effort: ensemble.Effort = field(default_factory=ensemble.Effort)
    curve: tuple[float, ...] = (0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0)

    @property
    def pgd(self) -> str:
        """What PGD is called in tables."""
        return f"PGD-{self.steps} x {self.restarts}"


@dataclass(frozen=True)
class Evaluation:
    """Results on n rows.

    Attributes:
        name: of the model.
        plan: what was done.
        labels: (n,) the truth.
        right: (n,) for each attack by name: whether the row is still answered right. `clean` is without an attack.
        curve: rows right under PGD by radius, ascending; the last radius lets the attacker change everything.
        white_box, black_box: which of `right` see gradients, and which do not.
        adversarial: (n, ...) where PGD ended.
        predicted: (n,) the classes answered there.
        calibration: expected calibration error on clean rows.
        membership: advantage of a membership attacker; None if the training rows were not given.
        captured: accuracy on captured rows whose labels a reviewer gave; None if there are none.
    """

    name: str
    plan: Plan
    labels: Labels
    right: Mapping[str, Right]
    curve: Sequence[tuple[float, Right]]
    white_box: tuple[str, ...]
    black_box: tuple[str, ...]
    adversarial: Rows
    predicted: Labels
    calibration: float
    membership: float | None = None
    captured: Share | None = None

    @property
    def robust(self) -> Right:
        """(n,) rows that are right clean and under every attack at epsilon."""
        return _all([self.right[name] for name in (CLEAN, *self.white_box, *self.black_box)])

    @property
    def contradictions(self) -> list[str]:
        """Signs of masked gradients, a sentence each."""
        return contradictions(
            self.right,
            single=FGSM,
            iterated=self.plan.pgd,
            longer=(SHORT, LONG),
            white_box=[name for name in self.white_box if name not in (FGSM, LONG)],
            black_box=self.black_box,
            curve=self.curve,
        )

    def under(self, name: str, right: Right) -> "Evaluation":
        """The same with another black-box attack, such as one through the proxy, which was made elsewhere."""
        return replace(self, right={**self.right, name: right}, black_box=(*self.black_box, name))

    def shares(self) -> dict[str, Share]:
        """Accuracy for each attack, and `robust`: under all of them together."""
        return {**{name: share(right) for name, right in self.right.items()}, "robust": share(self.robust)}

    def per_class(self) -> dict[int, dict[str, Share]]:
        """Clean and robust accuracy by class."""
        return {
            int(label): {
                CLEAN: share(self.right[CLEAN][self.labels == label]),
                "robust": share(self.robust[self.labels == label]),
            }
            for label in np.unique(self.labels)
        }

    def as_json(self) -> dict[str, Any]:
        """All figures, without rows."""
        return {
            "model": self.name,
            "rows": len(self.labels),
            "epsilon": self.plan.epsilon,
            "norm": self.plan.norm,
            "accuracy": {name: each._asdict() for name, each in self.shares().items()},
            "per_class": {
                str(label): {name: each._asdict() for name, each in own.items()}
                for label, own in self.per_class().items()
            },
            "curve": [{"epsilon": radius, **share(right)._asdict()} for radius, right in self.curve],
            "calibration_error": self.calibration,
            "membership_advantage": self.membership,
            "captured": self.captured._asdict() if self.captured else None,
            "contradictions": self.contradictions,
        }


@dataclass(frozen=True)
class Material:
    """What a model is evaluated on.

    Attributes:
        rows, labels: (n, ...) and (n,), that no model was trained on.
        members, member_labels: rows that were trained on, for membership inference.
        captured, captured_labels: captured attack rows with the labels that a reviewer gave.
    """

    rows: Rows
    labels: Labels
    members: Rows | None = None
    member_labels: Labels | None = None
    captured: Rows | None = None
    captured_labels: Labels | None = None


def evaluate(
    subject: Subject,
    material: Material,
    plan: Plan,
    seed: int,
    *,
    transferred: Rows | None = None,
    say: Say = lambda _: None,
) -> Evaluation:
    """Attacks a model on rows.

    Args:
        subject: the model.
        material: the rows.
        plan: the attacks.
        seed: of their dice; the same for models that are to be compared.
        transferred: (n, ...) adversarial rows made on another model, such as the served one.
        say: told of each attack.

    Raises:
        EnsembleError: ART is not installed.
    """
    rng = np.random.default_rng(seed)
    rows, labels = material.rows, material.labels
    scores = subject.scores(rows)
    right: dict[str, Right] = {CLEAN: scores.argmax(axis=1) == labels}

    def record(name: str, attacked: Rows) -> None:
        right[name] = right[CLEAN] & subject.right(attacked, labels)
        say(f"{subject.name}: {right[name].mean():.1%} right under {name}")

    record(FGSM, fgsm(subject, rows, labels, plan.epsilon, plan.norm))
    for name, steps in ((SHORT, plan.steps), (LONG, 4 * plan.steps)):
        attacked = pgd(subject, rows, labels, plan.epsilon, rng, norm=plan.norm, steps=steps, restarts=1)
        record(name, attacked)
    adversarial = pgd(
        subject, rows, labels, plan.epsilon, rng, norm=plan.norm, steps=plan.steps, restarts=plan.restarts
    )
    record(plan.pgd, adversarial)
    white_box = [FGSM, SHORT, LONG, plan.pgd]
    black_box: list[str] = []
    for name in ensemble.names(scores.shape[1], rows.shape[1:], plan.norm):
        right[name] = _ensemble(name, subject, material, plan, rng, _all(list(right.values())))
        (black_box if name == ensemble.SQUARE else white_box).append(name)
        say(f"{subject.name}: {right[name].mean():.1%} right under {name} and all before")
    if transferred is not None:
        record(TRANSFER, transferred)
        black_box.append(TRANSFER)
    return Evaluation(
        name=subject.name,
        plan=plan,
        labels=labels,
        right=right,
        curve=_curve(subject, material, plan, rng),
        white_box=tuple(white_box),
        black_box=tuple(black_box),
        adversarial=adversarial,
        predicted=subject.scores(adversarial).argmax(axis=1),
        calibration=calibration_error(scores, labels),
        membership=_membership(subject, material),
        captured=_captured(subject, material),
    )


def _all(right: list[Right]) -> Right:
    return np.asarray(np.logical_and.reduce(right))


def _ensemble(
    name: str, subject: Subject, material: Material, plan: Plan, rng: np.random.Generator, left: Right
) -> Right:
    """The rows left by the attacks before that this one leaves, too."""
    kept = left.copy()
    own = np.flatnonzero(left)
    rows, labels = material.rows[own], material.labels[own]
    found = ensemble.attack(name, subject, rows, labels, plan.epsilon, rng, norm=plan.norm, effort=plan.effort)
    kept[own] = subject.right(found, labels) if len(own) else []
    return kept


def _curve(subject: Subject, material: Material, plan: Plan, rng: np.random.Generator) -> list[tuple[float, Right]]:
    whole = subject.high - subject.low
    if plan.norm == "2":
        whole *= float(np.sqrt(np.prod(material.rows.shape[1:])))
    radii = sorted({*(factor * plan.epsilon for factor in plan.curve if factor * plan.epsilon < whole), whole})
    found = []
    for radius in radii:
        attacked = pgd(
            subject, material.rows, material.labels, radius, rng, norm=plan.norm, steps=CURVE_STEPS, restarts=1
        )
        found.append((radius, subject.right(attacked, material.labels)))
    return found


def _membership(subject: Subject, material: Material) -> float | None:
    if material.members is None or material.member_labels is None:
        return None
    return membership_advantage(
        subject.scores(material.members), material.member_labels, subject.scores(material.rows), material.labels
    )


def _captured(subject: Subject, material: Material) -> Share | None:
    if material.captured is None or material.captured_labels is None or not len(material.captured):
        return None
    return share(subject.right(material.captured, material.captured_labels))
