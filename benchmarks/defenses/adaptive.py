"""The attacker who knows the defense: PGD through it, by BPDA and EOT (Athalye, Carlini, Wagner 2018).

Forward, every image passes the real steps, with fresh draws where they are random. Backward, a step counts as the
identity, which suits steps that leave an image much as it was, and a smoothing one as a 3x3 mean (BPDA). Random resize
and pad moves pixels, so there the exact transpose of what was drawn takes its place. The gradient is the mean over the
draws (EOT).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from scipy import ndimage

from benchmarks.defenses.scale import EPSILON
from benchmarks.defenses.served import Images, Labels
from benchmarks.defenses.suite import RANGE
from defenses.input import Batch, InputDefense, Median, NonLocalMeans, RandomResizePad, TotalVariation, row_seeds

STEP = EPSILON / 10
BATCH = 1000

Pull = Callable[[Images], Images]
"""Takes a gradient (rows, H, W, 1) at a step's result back to its input."""


@dataclass(frozen=True)
class Attacker:
    """Attributes: network, a Keras model giving logits; defense, the steps before it; draws, averaged in each step."""

    network: Any
    defense: tuple[InputDefense, ...]
    draws: int
    rng: np.random.Generator

    def __call__(self, images: Images, labels: Labels, starts: Sequence[Images], steps: int) -> Images:
        """Adversarial images: of all that was met on the ways from the starts, those of the lowest mean margin."""
        best, lowest = images.copy(), np.full(len(images), np.inf)
        for start in starts:
            now = start
            for _ in range(steps + 1):
                gradient, margin = self._look(now, labels)
                better = margin < lowest
                best[better], lowest[better] = now[better], margin[better]
                moved = np.clip(now + STEP * np.sign(gradient), images - EPSILON, images + EPSILON)
                now = np.clip(moved, *RANGE).astype(np.float32)
        return best

    def _look(self, images: Images, labels: Labels) -> tuple[Images, NDArray[np.float64]]:
        """The loss's mean gradient (rows, H, W, 1), and the mean margin (rows,) of the true class over the others."""
        repeated = np.repeat(images, self.draws, axis=0)
        seen, pulls = through(self.defense, repeated, self.rng)
        gradient, margin = self._backward(seen, np.repeat(labels, self.draws))
        for pull in reversed(pulls):
            gradient = pull(gradient)
        per_image = (len(images), self.draws)
        return gradient.reshape(*per_image, *images.shape[1:]).mean(axis=1), margin.reshape(per_image).mean(axis=1)

    def _backward(self, seen: Images, labels: Labels) -> tuple[Images, NDArray[np.float64]]:
        parts = [
            _gradient(self.network, tf.constant(seen[at : at + BATCH]), tf.constant(labels[at : at + BATCH]))
            for at in range(0, len(seen), BATCH)
        ]
        gradient, margin = (np.concatenate([part.numpy() for part in side]) for side in zip(*parts, strict=True))
        return gradient, margin.astype(np.float64)


def through(
    defense: tuple[InputDefense, ...], images: Images, rng: np.random.Generator
) -> tuple[Images, tuple[Pull, ...]]:
    """What the model sees of images, and for each step the way back of a gradient."""
    pulls = []
    for step in defense:
        batch = Batch(images, row_seeds(rng, len(images)), RANGE)
        pulls.append(_way_back(step, batch))
        images = np.clip(step(batch), *RANGE).astype(np.float32)
    return images, tuple(pulls)


@tf.function(reduce_retracing=True)  # type: ignore[untyped-decorator]  # TensorFlow publishes no types
def _gradient(network: Any, seen: Any, labels: Any) -> tuple[Any, Any]:
    with tf.GradientTape() as tape:
        tape.watch(seen)
        logits = network(seen)
        loss = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
    own = tf.gather(logits, labels, batch_dims=1)
    others = tf.reduce_max(logits - 1e9 * tf.one_hot(labels, logits.shape[1]), axis=1)
    return tape.gradient(loss, seen), own - others


def _way_back(step: InputDefense, batch: Batch) -> Pull:
    match step:
        case RandomResizePad():
            return _transpose(step, batch)
        case Median() | NonLocalMeans() | TotalVariation():
            return _smoothed
        case _:
            return _identity


def _identity(gradient: Images) -> Images:
    return gradient


def _smoothed(gradient: Images) -> Images:
    return np.asarray(ndimage.uniform_filter(gradient, (1, 3, 3, 1)), dtype=np.float32)


def _transpose(step: RandomResizePad, batch: Batch) -> Pull:
    """Resize and pad is linear, rows @ image @ columns.T, with matrices that follow from the seeds."""
    _, height, width, _ = batch.values.shape
    rows = np.zeros((len(batch.seeds), height, height), dtype=np.float32)
    columns = np.zeros((len(batch.seeds), width, width), dtype=np.float32)
    for row, generator in enumerate(batch.generators()):
        share = generator.uniform(step.smallest, 1.0)
        tall, wide = max(1, round(height * share)), max(1, round(width * share))
        top, left = generator.integers(0, height - tall + 1), generator.integers(0, width - wide + 1)
        rows[row, top : top + tall] = _shrinking(tall, height)
        columns[row, left : left + wide] = _shrinking(wide, width)

    def pull(gradient: Images) -> Images:
        back = rows.transpose(0, 2, 1)[:, None] @ gradient.transpose(0, 3, 1, 2) @ columns[:, None]
        return np.asarray(back.transpose(0, 2, 3, 1), dtype=np.float32)

    return pull


def _shrinking(small: int, large: int) -> Images:
    """(small, large): linear interpolation between pixel centres."""
    at = np.clip((np.arange(small) + 0.5) * large / small - 0.5, 0, large - 1)
    weights = np.maximum(0.0, 1.0 - np.abs(at[:, None] - np.arange(large)))
    return np.asarray(weights, dtype=np.float32)
