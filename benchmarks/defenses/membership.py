"""Was this row trained on? A confidence threshold (Yeom et al. 2018) and a shadow model (Shokri et al. 2017).

The attacker has rows of the same kind and knows the recipe of the served model and its defense, so a shadow model
made by the same recipe, hardened likewise, shows how members differ from others. The rows in question come with labels.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import roc_auc_score

from benchmarks.defenses import networks
from benchmarks.defenses.results import Advantage, Membership
from benchmarks.defenses.scale import Scale
from benchmarks.defenses.served import Answers, Caller, Images, Labels
from benchmarks.defenses.suite import Defense
from defenses.input.squeezing import softmax
from proxy.demo.data import Dataset
from proxy.demo.model import DemoModel, demo_model

Scores = NDArray[np.float64]


class Rows(NamedTuple):
    """Attributes: images (rows, H, W, 1) and their labels (rows,)."""

    images: Images
    labels: Labels

    def part(self, start: int, end: int) -> "Rows":
        """The rows from `start` to `end`."""
        return Rows(self.images[start:end], self.labels[start:end])


@dataclass(frozen=True)
class Target:
    """A served model, with what its attacker has.

    Attributes:
        model: the served model.
        members: rows that it was trained on.
        others: rows that it has never seen.
        shadow: the attacker's model, a Keras one giving logits.
        shadow_members: rows that the shadow was trained on.
        shadow_others: rows that it has never seen.
    """

    model: DemoModel
    members: Rows
    others: Rows
    shadow: Any
    shadow_members: Rows
    shadow_others: Rows


def targets(dataset: Dataset, model: DemoModel, cache: Path, scale: Scale) -> tuple[Target, Target]:
    """The demo's model, and one of the same recipe that has learnt a few rows by heart; both with their shadows.

    The demo's model has seen all training rows, so its shadow is made from test rows; of these, others in question,
    the shadow's members and the shadow's others are three parts. The second model leaves training rows enough.
    """
    test, train = _rows(dataset.x_test, dataset.y_test), _rows(dataset.x_train, dataset.y_train)
    third, few = len(test.labels) // 3, scale.few_rows
    known = scale.member_rows
    demo = Target(
        model,
        train.part(0, known),
        test.part(0, third).part(0, known),
        *_shadow(dataset, "shadow", test.part(third, 2 * third), test.part(2 * third, 3 * third), cache),
    )
    small = replace(dataset, name=f"{dataset.name}-few", x_train=train.images[:few], y_train=dataset.y_train[:few])
    by_heart = Target(
        demo_model(small, cache),
        train.part(0, min(few, known)),
        test.part(0, known),
        *_shadow(dataset, "few-shadow", train.part(few, 2 * few), train.part(2 * few, 3 * few), cache),
    )
    return demo, by_heart


def attack(target: Target, caller: Caller, defense: Defense) -> Membership:
    """Both attacks on a model through a proxy.

    Args:
        target: the model.
        caller: asks that model through the proxy.
        defense: what the proxy does to the answers.
    """
    asked = [(caller(rows.images), rows.labels) for rows in (target.members, target.others)]
    rng = np.random.default_rng(0)
    own = [
        (_hardened(networks.logits(target.shadow, rows.images), defense, rng), rows.labels)
        for rows in (target.shadow_members, target.shadow_others)
    ]
    train_accuracy, test_accuracy = (float((answers.classes == labels).mean()) for answers, labels in asked)
    return Membership(
        model=target.model.name,
        train_accuracy=train_accuracy,
        test_accuracy=test_accuracy,
        threshold=_by_threshold([_confidences(*pair) for pair in asked], [_confidences(*pair) for pair in own]),
        shadow=_by_shadow([_features(*pair) for pair in asked], [_features(*pair) for pair in own]),
    )


def _by_threshold(asked: list[Scores], own: list[Scores]) -> Advantage:
    """A member is whoever's confidence is above what divides the shadow's rows best.

    Each pair is (2, rows): by probabilities and by logits. The shadow also says which of the two to go by.
    """
    cuts = [_best_cut(members, others) for members, others in zip(*own, strict=True)]
    which = int(np.argmax([advantage for _, advantage in cuts]))
    members, others = (pair[which] for pair in asked)
    cut = cuts[which][0]
    return Advantage.of(members >= cut, others >= cut, _auc(members, others))


def _best_cut(members: Scores, others: Scores) -> tuple[float, float]:
    """The threshold of the largest advantage, and that advantage."""
    cuts = np.unique(np.concatenate([members, others]))
    above = [1 - np.searchsorted(np.sort(scores), cuts) / len(scores) for scores in (members, others)]
    advantages = above[0] - above[1]
    best = int(advantages.argmax())
    return float(cuts[best]), float(advantages[best])


def _by_shadow(asked: list[Scores], own: list[Scores]) -> Advantage:
    """A classifier learns from the shadow's answers (rows, features) what those to members look like."""
    inside = np.repeat([1, 0], [len(own[0]), len(own[1])])
    judge = RandomForestClassifier(min_samples_leaf=10, class_weight="balanced", random_state=0)
    judge.fit(np.concatenate(own), inside)
    members, others = (judge.predict_proba(features)[:, 1] for features in asked)
    return Advantage.of(members > 0.5, others > 0.5, _auc(members, others))


def _confidences(answers: Answers, labels: Labels) -> Scores:
    """In the true class (2, rows): from the probabilities, and from the logits, as logarithms."""
    with np.errstate(divide="ignore"):
        both = [np.log(answers.probabilities.astype(np.float64)), np.log(softmax(answers.logits))]
    return np.stack([np.maximum(logs[np.arange(len(labels)), labels], -1e3) for logs in both])


def _features(answers: Answers, labels: Labels) -> Scores:
    """All scores in falling order, the confidences, and whether the class is right: (rows, 2 * classes + 3)."""
    ordered = [-np.sort(-scores.astype(np.float64), axis=1) for scores in answers]
    right = (answers.classes == labels)[:, np.newaxis]
    return np.concatenate([*ordered, _confidences(answers, labels).T, right], axis=1)


def _hardened(logits: NDArray[np.float32], defense: Defense, rng: np.random.Generator) -> Answers:
    """A model's answers as a proxy with this defense would give them."""
    probabilities = softmax(logits).astype(np.float32)
    keys = rng.integers(0, 2**64, len(logits), dtype=np.uint64)
    return Answers(
        defense.answer_chain("logits")(logits, keys).values,
        defense.answer_chain("probabilities")(probabilities, keys).values,
    )


def _auc(members: Scores, others: Scores) -> float:
    inside = np.repeat([1, 0], [len(members), len(others)])
    return float(roc_auc_score(inside, np.concatenate([members, others])))


def _shadow(dataset: Dataset, suffix: str, members: Rows, others: Rows, cache: Path) -> tuple[Any, Rows, Rows]:
    seen = replace(
        dataset, name=f"{dataset.name}-{suffix}", x_train=members.images, y_train=members.labels.astype(np.uint8)
    )
    return keras.models.load_model(demo_model(seen, cache).keras), members, others


def _rows(images: Images, labels: NDArray[np.uint8]) -> Rows:
    return Rows(images, labels.astype(np.int64))
