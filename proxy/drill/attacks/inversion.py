"""What does a class look like? Its confidence is climbed from a blank row, by answers alone."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from proxy.drill.attacks.asking import Asking, OverError
from proxy.drill.attacks.contract import Ended, Oracle, Outcome, Probabilities, RefusedError, Rows, Target, Technique

SMALLEST = 1e-7
Row = NDArray[np.float32]


@dataclass(frozen=True)
class Inversion:
    """Model inversion (MIFace: Fredrikson, Jha, Ristenpart 2015) with the gradient estimated by natural evolution
    strategies (Ilyas et al. 2018, arXiv 1804.08598), since a served model gives none.

    Attributes:
        attacked: classes, at most, chosen at random; they share the budget.
        pairs: of opposite probes in each estimate.
        probe: size of a probe per value.
        step: of the climb per value, of the sign of the gradient's running mean; it halves whenever the climb stalls.
        enough: confidence at which a class is done.
    """

    attacked: int = 3
    pairs: int = 12
    probe: float = 0.1
    step: float = 0.03
    enough: float = 0.99
    name: str = "Model inversion"
    technique: Technique = "inversion"
    images: bool = False

    def run(self, oracle: Oracle, target: Target, rng: np.random.Generator) -> Outcome:
        """Its metrics: `confidence`, the mean of what the attacker was told of the reconstructions, and, with members,
        `likeness`: the mean correlation of a reconstruction with the mean of its class's members.
        """
        shape = next((rows.shape[1:] for rows in (target.pool, target.members, target.seeds) if len(rows)), None)
        if shape is None:
            raise ValueError("an inversion needs a row of the model's kind for the shape: give a pool")
        chosen = rng.permutation(target.classes)[: self.attacked]
        climbs, ended = [], []
        for place, label in enumerate(chosen):
            left = max(0, target.budget - oracle.rows)
            climb = _Climb(Asking(oracle, left // (len(chosen) - place)), shape, int(label), target)
            climbs.append(climb)
            ended.append(self._climbed(climb, rng))
        inverted = np.stack([climb.best for climb in climbs])
        return Outcome(
            ended=next((each for each in reversed(ended) if each != "done"), "done"),
            metrics={
                "confidence": float(np.mean([climb.confidence for climb in climbs])),
                "likeness": _likeness(inverted, chosen, target),
            },
            inverted=inverted,
            inverted_labels=chosen.astype(np.int64),
        )

    def _climbed(self, climb: "_Climb", rng: np.random.Generator) -> Ended:
        step, mean = self.step, np.zeros(climb.best.shape, np.float32)
        try:
            climb.ask(climb.best[None])
            while climb.confidence < self.enough:
                before = climb.confidence
                mean = 0.7 * mean + climb.gradient(self.pairs, self.probe, rng)
                climb.ask(np.asarray((climb.best + step * np.sign(mean)).clip(0, 1), np.float32)[None])
                step = step if climb.confidence > before else max(step / 2, self.step / 16)
        except OverError as over:
            return over.ended
        return "done"


class _Climb:
    """The search for one class. Attributes: best, the likeliest row so far; confidence, what was told of it."""

    def __init__(self, asking: Asking, shape: tuple[int, ...], label: int, target: Target) -> None:
        self._asking, self._label, self._target = asking, label, target
        self.best: Row = np.zeros(shape, np.float32)
        self.confidence = 0.0

    def ask(self, rows: Rows) -> Probabilities:
        """The logarithm of the class's confidence in each row (n,); 0 change for what was refused."""
        told = np.full(len(rows), self.confidence, np.float32)
        for start in range(0, len(rows), self._target.batch):
            try:
                answers = self._asking(rows[start : start + self._target.batch])
            except RefusedError:
                continue
            told[start : start + self._target.batch] = answers[:, self._label]
        likeliest = int(told.argmax())
        if told[likeliest] > self.confidence:
            self.best, self.confidence = rows[likeliest], float(told[likeliest])
        return np.asarray(np.log(np.maximum(told, SMALLEST)))

    def gradient(self, pairs: int, size: float, rng: np.random.Generator) -> Row:
        """Estimated at the best row: (...), of unit mean size."""
        at = self.best
        probes = _smooth(rng.standard_normal((pairs, *at.shape), np.float32))
        up, down = (self.ask((at + sign * size * probes).clip(0, 1)) for sign in (1, -1))
        estimate = np.tensordot(up - down, probes, axes=1)
        return np.asarray(estimate / max(float(np.abs(estimate).mean()), SMALLEST), np.float32)


def _smooth(probes: Rows) -> Rows:
    """Images' noise averaged over 3 by 3 values, of unit deviation: what a class looks like varies slowly."""
    if probes.ndim == 4:
        for axis in (1, 2):
            probes = probes + np.roll(probes, 1, axis) + np.roll(probes, -1, axis)
    return np.asarray(probes / probes.std(), np.float32)


def _likeness(inverted: Rows, labels: NDArray[np.int64], target: Target) -> float:
    found = [
        _correlation(row, target.members[target.member_labels == label].mean(axis=0))
        for row, label in zip(inverted, labels, strict=True)
        if (target.member_labels == label).any()
    ]
    return float(np.mean(found)) if found else float("nan")


def _correlation(one: Row, other: Row) -> float:
    first, second = one.ravel() - one.mean(), other.ravel() - other.mean()
    lengths = float(np.linalg.norm(first) * np.linalg.norm(second))
    return float(first @ second) / lengths if lengths > SMALLEST else 0.0


INVERSION = Inversion()
