"""Was this row trained on? By the answer's confidence, or by how far the label holds around the row."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from proxy.drill.attacks.asking import Asking, gather
from proxy.drill.attacks.contract import Ended, Labels, Oracle, Outcome, Probabilities, Rows, Target, Technique

Scores = NDArray[np.float64]

NOISES = (0.0, 0.05, 0.1, 0.2, 0.3)
"""Deviations of the noise on the copies of a row, in units of the pool's own deviation of each value."""


@dataclass(frozen=True)
class Confidence:
    """The confidence in the true class (Yeom et al. 2018, arXiv 1709.01604): a member's is higher. One row each."""

    name: str = "Membership by confidence"
    technique: Technique = "membership"
    images: bool = False

    def run(self, oracle: Oracle, target: Target, rng: np.random.Generator) -> Outcome:
        """Its metrics are those of `judged`."""
        rows, labels, truth = _questions(target, rng)
        places, answers, ended = gather(_all_left(oracle, target), rows, target)
        return judged(truth[places], answers[np.arange(len(places)), labels[places]].astype(float), ended)


@dataclass(frozen=True)
class LabelOnly:
    """How many noisy or moved copies of a row keep its label (Choquette-Choo et al. 2021, arXiv 2007.14321).

    Attributes:
        copies: of each row; images are moved by a pixel beside the noise.
    """

    copies: int = 12
    name: str = "Membership by labels"
    technique: Technique = "membership"
    images: bool = False

    def run(self, oracle: Oracle, target: Target, rng: np.random.Generator) -> Outcome:
        """Its metrics are those of `judged`."""
        asking = _all_left(oracle, target)
        rows, labels, truth = _questions(target, rng)
        known: list[tuple[bool, float]] = []
        ended: Ended | None = None
        for row, label, member in zip(rows, labels, truth, strict=True):
            places, answers, ended = gather(asking, self._neighbours(row, target, rng), target)
            if len(places) == self.copies:
                known.append((bool(member), float(_kept(answers, int(label)))))
            if ended:
                break
        return judged(np.array([each[0] for each in known], bool), np.array([each[1] for each in known]), ended)

    def _neighbours(self, row: NDArray[np.float32], target: Target, rng: np.random.Generator) -> Rows:
        widths = target.pool.std(axis=0) if len(target.pool) else np.full(row.shape, 0.2, np.float32)
        sizes = np.resize(NOISES, self.copies).reshape(-1, *[1] * row.ndim)
        copies = row + sizes * widths * rng.standard_normal((self.copies, *row.shape))
        if row.ndim == 3:
            for place in range(1, self.copies, 2):
                copies[place] = np.roll(copies[place], rng.integers(-1, 2, size=2), axis=(0, 1))
        return np.asarray(copies.clip(0, 1), np.float32)


def _kept(answers: Probabilities, label: int) -> float:
    return float((answers.argmax(axis=1) == label).mean())


def _all_left(oracle: Oracle, target: Target) -> Asking:
    return Asking(oracle, max(0, target.budget - oracle.rows))


def _questions(target: Target, rng: np.random.Generator) -> tuple[Rows, Labels, NDArray[np.bool_]]:
    """Members and others in random order, so that a budget too small asks for both."""
    rows = np.concatenate([target.members, target.others])
    labels = np.concatenate([target.member_labels, target.other_labels])
    order = rng.permutation(len(rows))
    return rows[order], labels[order], np.asarray(order < len(target.members))


def judged(truth: NDArray[np.bool_], scores: Scores, ended: Ended | None) -> Outcome:
    """The outcome of scores (n,) of rows that are members or not, (n,).

    Its metrics: `judged`, the rows with a score; `auc`, the chance that a member scores higher than another row;
    `advantage`, the true less the false positive rate (Yeom) at a threshold found on the other half of the rows;
    `tpr_at_1_percent`, the true positive rate at 1 % false positives. NaN if there are not two of each to judge by.
    """
    enough = min(truth.sum(), (~truth).sum()) >= 2
    return Outcome(
        ended=ended or ("done" if len(truth) else "refused"),
        metrics={
            "judged": float(len(truth)),
            "auc": _auc(truth, scores) if enough else np.nan,
            "advantage": _advantage(truth, scores) if enough else np.nan,
            "tpr_at_1_percent": _true_positives(truth, scores, 0.01) if enough else np.nan,
        },
    )


def _auc(truth: NDArray[np.bool_], scores: Scores) -> float:
    others = np.sort(scores[~truth])
    below, upto = (np.searchsorted(others, scores[truth], side=side) for side in ("left", "right"))
    return float((below + upto).mean() / 2 / len(others))


def _advantage(truth: NDArray[np.bool_], scores: Scores) -> float:
    """The mean of both halves, each judged by the other's threshold; members and others are split evenly."""
    half = np.zeros(len(truth), bool)
    for kind in (truth, ~truth):
        half[np.flatnonzero(kind)[::2]] = True
    gains = [
        _gain(truth[judge], scores[judge], _best_threshold(truth[~judge], scores[~judge])) for judge in (half, ~half)
    ]
    return float(np.mean(gains))


def _gain(truth: NDArray[np.bool_], scores: Scores, threshold: float) -> float:
    said = scores >= threshold
    return float(said[truth].mean() - said[~truth].mean())


def _best_threshold(truth: NDArray[np.bool_], scores: Scores) -> float:
    thresholds = np.unique(scores)
    return float(thresholds[int(np.argmax([_gain(truth, scores, each) for each in thresholds]))])


def _true_positives(truth: NDArray[np.bool_], scores: Scores, rate: float) -> float:
    allowed = int(rate * (~truth).sum())
    return float((scores[truth] > np.sort(scores[~truth])[::-1][allowed]).mean())


CONFIDENCE = Confidence()
LABEL_ONLY = LabelOnly()
