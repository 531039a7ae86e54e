"""Square and HopSkipJump: attackers who have nothing but the proxy's answers.

Both end with an image within the L-inf ball that one fresh answer judges, so that a lucky draw of a random defense
does not count as a success by itself.
"""

from collections.abc import Callable
from hashlib import blake2b
from typing import Any

import numpy as np
from art.attacks.evasion import HopSkipJump, SquareAttack
from art.estimators.classification import BlackBoxClassifierNeuralNetwork
from numpy.typing import NDArray

from benchmarks.defenses.results import Queried, Share
from benchmarks.defenses.scale import EPSILON, Scale
from benchmarks.defenses.served import Caller, Images, Labels, right

Logits = NDArray[np.float32]
Ask = Callable[[Images], Logits]
BATCH = 512


class SpentError(Exception):
    """The attacker has used up the queries, or has lost the way."""


def square(caller: Caller, images: Images, labels: Labels, scale: Scale, seed: int, *, remember: bool) -> Queried:
    """Square (Andriushchenko et al. 2020), which climbs on logits.

    Args:
        caller: of the defended model.
        images: to attack; those that are wrong already stay so.
        labels: their classes.
        scale: its rows and steps.
        seed: of the attack's draws.
        remember: keep answers instead of asking for an image again. An attacker of a random defense asks again, since
            comparing with an old lucky answer would bring the search to a halt.
    """
    images, labels = images[: scale.square_rows], labels[: scale.square_rows]
    np.random.seed(seed)  # noqa: NPY002  # the attack draws from numpy's global generator
    before = caller.rows

    def ask(rows: Images) -> Logits:
        return caller(rows).logits

    attack = SquareAttack(
        _black_box(Memory(ask) if remember else ask, images),
        norm=np.inf,
        eps=EPSILON,
        max_iter=scale.square_steps,
        batch_size=BATCH,
        verbose=False,
    )
    adversarial = attack.generate(images, labels)
    asked = caller.rows - before
    return Queried(accuracy=Share.of(right(caller, adversarial, labels)), queries=asked / len(images))


def hop_skip_jump(caller: Caller, images: Images, labels: Labels, scale: Scale, seed: int) -> Queried:
    """HopSkipJump (Chen et al. 2020), which needs the predicted class only.

    It starts from the nearest image of another class, so its queries all go to the boundary. What it finds is drawn
    along its line to the ball's surface if that still misleads, or else into the ball.
    """
    known = caller(images).classes
    chosen, wanted = images[: scale.hop_rows], labels[: scale.hop_rows]
    attacked = known[: scale.hop_rows] == wanted
    before = caller.rows
    adversarial = chosen.copy()
    for row in np.flatnonzero(attacked):
        np.random.seed(seed + int(row))  # noqa: NPY002  # the attack draws from numpy's global generator
        start = _nearest(chosen[row], images[known != wanted[row]])
        found = _Hop(caller, chosen[row], int(wanted[row]), scale)(start) - chosen[row]
        inside = np.clip(found, -EPSILON, EPSILON)
        outermost = inside * (EPSILON / max(np.abs(inside).max(), 1e-6))
        either = np.clip(chosen[row] + np.stack([outermost, inside]), 0, 1).astype(np.float32)
        adversarial[row] = either[int(right(caller, either[:1], wanted[row : row + 1])[0])]
    asked = caller.rows - before
    still = attacked & right(caller, adversarial, wanted)
    return Queried(accuracy=Share.of(still), queries=asked / max(1, int(attacked.sum())))


class _Hop:
    """The attack on one image.

    With answers that vary, its search for a step might never end, or its boundary shrink onto the image itself, where
    it divides by zero. Then the image nearest to the ball's surface that was ever misclassified has to do.
    """

    def __init__(self, caller: Caller, image: Images, label: int, scale: Scale) -> None:
        self._caller, self._image, self._label, self._scale = caller, image, label, scale
        self._left = scale.hop_queries
        self._best, self._distance = image, np.inf

    def __call__(self, start: Images) -> Images:
        """The adversarial image: the attack's own, or the best seen when that breaks off."""
        attack = HopSkipJump(
            _black_box(self._ask, self._image[None]),
            norm=np.inf,
            max_iter=self._scale.hop_steps,
            init_eval=self._scale.hop_evaluations,
            batch_size=BATCH,
            verbose=False,
        )
        try:
            with np.errstate(divide="ignore", invalid="ignore"):  # it is noticed in `_ask`
                found: Images = attack.generate(self._image[None], x_adv_init=start[None])[0]
        except SpentError:
            return self._best
        return found

    def _ask(self, images: Images) -> Logits:
        self._left -= len(images)
        if self._left < 0 or not np.isfinite(images).all():
            raise SpentError
        logits = self._caller(images).logits
        distance = np.abs(np.abs(images - self._image).max(axis=(1, 2, 3)) - EPSILON)
        distance[logits.argmax(axis=1) == self._label] = np.inf
        nearest = int(distance.argmin())
        if distance[nearest] < self._distance:
            self._best, self._distance = images[nearest], distance[nearest]
        return logits


class Memory:
    """Asks for each image once. It lives as long as one attack.

    Args:
        ask: gives logits (rows, classes).
    """

    def __init__(self, ask: Ask) -> None:
        self._ask = ask
        self._known: dict[bytes, Logits] = {}

    def __call__(self, images: Images) -> Logits:
        """Logits (rows, classes)."""
        names = [blake2b(image.tobytes(), digest_size=16).digest() for image in images]
        fresh = {name: row for row, name in enumerate(names) if name not in self._known}
        if fresh:
            answers = self._ask(images[list(fresh.values())])
            self._known.update(zip(fresh, answers, strict=True))
        return np.stack([self._known[name] for name in names])


def _black_box(ask: Ask, images: Images) -> Any:
    classes = ask(images[:1]).shape[1]
    return BlackBoxClassifierNeuralNetwork(
        ask, input_shape=images.shape[1:], nb_classes=classes, channels_first=False, clip_values=(0.0, 1.0)
    )


def _nearest(image: Images, others: Images) -> Images:
    found: Images = others[int(np.abs(others - image).mean(axis=(1, 2, 3)).argmin())]
    return found
