"""Model stealing: Knockoff Nets (Orekondy, Schiele, Fritz 2019), a surrogate trained on answers to other images."""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage
from sklearn.datasets import load_digits

from benchmarks.defenses import networks
from benchmarks.defenses.results import Share
from benchmarks.defenses.scale import Scale
from benchmarks.defenses.served import Answers, Images, Labels
from defenses.input.squeezing import softmax


@dataclass(frozen=True)
class Stolen:
    """A surrogate's worth.

    Attributes:
        fidelity: how often it agrees with the undefended model.
        accuracy: on the same images.
        read: the output that it was trained on.
    """

    fidelity: Share
    accuracy: float
    read: str


def steal(asked: Images, answers: Answers, images: Images, labels: Labels, served: Labels, scale: Scale) -> Stolen:
    """Trains a surrogate on each output, and keeps the better one: an attacker takes whichever tells more.

    Args:
        asked: what the attacker has sent.
        answers: what came back.
        images: the served model's own kind, for the comparison.
        labels: their classes.
        served: what the served model says of them.
        scale: its epochs.
    """
    targets = {"probabilities": answers.probabilities, "logits": softmax(answers.logits).astype(np.float32)}
    found = []
    for read, target in targets.items():
        network = networks.train(asked, target, scale.knockoff_epochs, seed=0)
        says = networks.logits(network, images).argmax(axis=1)
        found.append(Stolen(Share.of(says == served), float((says == labels).mean()), read))
    return max(found, key=lambda stolen: stolen.fidelity.value)


def other_images(rows: int, side: int, rng: np.random.Generator) -> Images:
    """Handwritten digits (scikit-learn's 1,797), turned, moved, thickened and shaded at random: (rows, side, side, 1).

    Nothing in them is of the served model's data set; the variety makes it show more of its classes. (Where
    digits are what it was trained on, for want of Fashion-MNIST, this holds for the variety alone.)
    """
    originals = load_digits().images.astype(np.float32) / 16
    chosen = originals[rng.integers(0, len(originals), rows)]
    return np.stack([_varied(image, side, rng) for image in chosen])[..., np.newaxis]


def _varied(image: Images, side: int, rng: np.random.Generator) -> Images:
    large = ndimage.zoom(image, side / image.shape[0], order=1)
    turned = ndimage.rotate(large, rng.uniform(-45, 45), reshape=False, order=1)
    moved = ndimage.shift(turned, rng.uniform(-side / 7, side / 7, 2), order=1)
    if rng.random() < 0.3:
        moved = ndimage.grey_dilation(moved, size=tuple(rng.integers(2, 8, 2)))
    shaded = np.clip(moved, 0, 1) ** rng.uniform(0.5, 2) * rng.uniform(0.3, 1)
    return np.asarray(shaded, dtype=np.float32)
