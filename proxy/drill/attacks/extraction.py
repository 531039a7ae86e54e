"""Theft by asking rows that are at hand: Knockoff Nets and CopycatCNN of the adversarial-robustness-toolbox (ART)."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from proxy.drill.attacks import networks
from proxy.drill.attacks.asking import Asking, Gathered, OverError, gather
from proxy.drill.attacks.contract import Ended, Oracle, Outcome, Probabilities, Rows, Target, Technique
from proxy.drill.attacks.dice import seeded

Data = Literal["foreign", "pool"]


def source(target: Target, data: Data) -> Rows:
    """The thief's rows; those of the pool where there are no foreign ones."""
    return target.foreign if data == "foreign" and len(target.foreign) else target.pool


def stolen(ended: Ended, model: Any, answered: int) -> Outcome:
    """The outcome of a theft; without an answer there is no surrogate."""
    return Outcome(
        ended=ended if answered else "refused",
        metrics={"trained_on": float(answered)},
        surrogate=networks.predict(model) if answered else None,
    )


@dataclass(frozen=True)
class Bulk:
    """ART's Knockoff Nets (Orekondy, Schiele, Fritz 2019, arXiv 1812.02766; random strategy) or CopycatCNN
    (Correia-Silva et al. 2018, arXiv 1806.05476): asks a random choice of rows and trains a network on the answers.

    Attributes:
        name: as in tables.
        soft: trains on probabilities as Knockoff Nets does, or else on labels as CopycatCNN does.
        data: whose rows.
    """

    name: str
    soft: bool
    data: Data = "foreign"
    technique: Technique = "extraction"
    images: bool = False

    def run(self, oracle: Oracle, target: Target, rng: np.random.Generator) -> Outcome:
        """Its metric `trained_on` counts the answered rows."""
        rows = source(target, self.data)
        wanted = min(len(rows), max(0, target.budget - oracle.rows))
        if not wanted:
            return Outcome(ended="spent", metrics={"trained_on": 0.0})
        with seeded(rng) as seed:
            model = networks.network(rows.shape[1:], target.classes, seed)
            victim = _Victim(Asking(oracle, wanted), target)
            thief = _thief(model, rows.shape[1:], target, wanted)
            try:
                self._attack(victim, rows, target, wanted).extract(rows, thieved_classifier=thief)
            except OverError:  # what came back until then is all that there is to learn from
                self._fit(thief, victim)
            ended = victim.gathered.ended or ("spent" if wanted < len(rows) else "done")
        return stolen(ended, model, len(victim.gathered.places))

    def _attack(self, victim: "_Victim", rows: Rows, target: Target, wanted: int) -> Any:
        from art.attacks.extraction import CopycatCNN, KnockoffNets
        from art.estimators.classification import BlackBoxClassifierNeuralNetwork

        classifier = BlackBoxClassifierNeuralNetwork(victim, rows.shape[1:], target.classes, channels_first=False)
        settings = {
            "batch_size_fit": networks.BATCH,
            "batch_size_query": wanted,
            "nb_epochs": networks.epochs(wanted),
            "nb_stolen": wanted,
            "use_probability": self.soft,
        }
        if self.soft:
            return KnockoffNets(classifier, sampling_strategy="random", verbose=False, **settings)
        return CopycatCNN(classifier, **settings)

    def _fit(self, thief: Any, victim: "_Victim") -> None:
        places, answers, _ = victim.gathered
        if not len(places):
            return
        targets = answers if self.soft else np.eye(answers.shape[1], dtype=np.float32)[answers.argmax(axis=1)]
        thief.fit(victim.rows[places], targets, batch_size=networks.BATCH, nb_epochs=networks.epochs(len(places)))


class _Victim:
    """Answers ART's one large question, or breaks it off when some rows are not answered; these cannot be learnt from.

    Attributes:
        rows: those asked for.
        gathered: what came back.
    """

    def __init__(self, asking: Asking, target: Target) -> None:
        self._asking, self._target = asking, target
        self.rows: Rows = np.empty((0,), np.float32)
        self.gathered: Gathered = gather(asking, self.rows, target)

    def __call__(self, rows: Rows) -> Probabilities:
        self.rows = np.asarray(rows, np.float32)
        self.gathered = gather(self._asking, self.rows, self._target)
        if len(self.gathered.places) < len(rows):
            raise OverError(self.gathered.ended or "done")
        return self.gathered.answers


def _thief(model: Any, shape: tuple[int, ...], target: Target, count: int) -> Any:
    import keras
    from art.estimators.classification import TensorFlowV2Classifier

    steps = -(-count // networks.BATCH) * networks.epochs(count)
    return TensorFlowV2Classifier(
        model,
        nb_classes=target.classes,
        input_shape=shape,
        loss_object=keras.losses.CategoricalCrossentropy(from_logits=True),
        optimizer=keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(networks.LEARNING_RATE, steps)),
    )


KNOCKOFF = Bulk("Knockoff Nets", soft=True)
COPYCAT = Bulk("CopycatCNN", soft=False)
