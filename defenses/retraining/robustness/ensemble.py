"""AutoAttack's way (Croce and Hein 2020, arXiv 2003.01690) with the attacks of adversarial-robustness-toolbox (ART).

Each attack gets the rows that all before it left right: APGD on the cross-entropy, APGD on the difference of logits
ratio, Square, which needs no gradient. AutoAttack's FAB is not among ART's; robustbench's numbers are so not its own.
"""

import hashlib
import math
import random
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from defenses.retraining.robustness.gradients import Norm
from defenses.retraining.robustness.subject import Labels, Rows, Scores, Subject

STEP_SHARE = 2.0
"""The first step of APGD in radii, as its paper has it; it is halved from there."""


@dataclass(frozen=True)
class Effort:
    """How hard the ensemble tries. The defaults are AutoAttack's standard, but for restarts.

    Attributes:
        steps: of each APGD.
        restarts: of each APGD.
        queries: of Square, for each row.
    """

    steps: int = 100
    restarts: int = 1
    queries: int = 5000


class EnsembleError(Exception):
    """The ensemble cannot run; `str()` says why and the remedy."""


def attack(
    name: str,
    subject: Subject,
    rows: Rows,
    labels: Labels,
    epsilon: float,
    rng: np.random.Generator,
    *,
    norm: Norm = "inf",
    effort: Effort | None = None,
) -> Rows:
    """One attack of the ensemble on rows that are right; where it ends.

    Args:
        name: one of NAMES.
        subject: the model.
        rows, labels: (n, ...) and (n,), all answered right.
        epsilon: radius, in units of the rows' values.
        rng: seeds the attack.
        norm: of the radius.
        effort: by default AutoAttack's.

    Raises:
        EnsembleError: ART is not installed.
    """
    if not len(rows):
        return rows
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of frameworks that are not there
            import art.attacks.evasion
            import art.estimators.classification  # noqa: F401
    except ImportError:
        raise EnsembleError(
            "the ensemble needs adversarial-robustness-toolbox: pip install 'tensorwall[retrain]'"
        ) from None
    effort = effort or Effort()
    with _seeded(rng):
        if name == "Square":
            found = _square(subject, rows, labels, epsilon, norm, effort)
        else:
            found = _apgd(name, subject, rows, labels, epsilon, norm, effort)
    found = np.asarray(found, np.float32)
    broken = ~np.isfinite(found).all(axis=tuple(range(1, found.ndim)), keepdims=True)
    return np.where(broken, rows, found)  # or a number that is none would count as a success


_FIRST_SQUARE = 0.8
"""Share of the image that Square's first square has (Andriushchenko et al. 2020, arXiv 1912.00049)."""
_TILES = 5
"""Of an image's side, with which ART's Square begins in L2."""

APGD_CE, APGD_DLR, SQUARE = "APGD-CE", "APGD-DLR", "Square"


def names(classes: int, shape: tuple[int, ...], norm: Norm = "inf") -> list[str]:
    """The attacks that fit: the ratio needs a third class, and Square an image that its squares fit into.

    Args:
        classes: that the model knows.
        shape: of a row.
        norm: of the radius.
    """
    return [APGD_CE, *([APGD_DLR] if classes >= 3 else []), *([SQUARE] if _squares_fit(shape, norm) else [])]


def _squares_fit(shape: tuple[int, ...], norm: Norm) -> bool:
    """Whether ART's Square works: its first square is smaller than the image, and its L2 tiles are two pixels wide."""
    if len(shape) != 3:
        return False
    height, width, _ = shape
    side = round(math.sqrt(_FIRST_SQUARE * height * width))
    if norm == "2":
        side = max(side, 3) | 1
    return side < min(height, width) and (norm == "inf" or min(height, width) >= 2 * _TILES)


class _Loss:
    """A loss of rows as ART wants it: a mean, or one number a row where it says so."""

    def __init__(self, name: str) -> None:
        self.reduction = "sum_over_batch_size"
        self._of = _ratio if name == APGD_DLR else _cross_entropy

    def __call__(self, truth: Any, scores: Any) -> Any:
        import tensorflow as tf

        losses = self._of(tf.convert_to_tensor(truth, tf.float32), scores)
        return losses if self.reduction == "none" else tf.reduce_mean(losses)


def _cross_entropy(truth: Any, scores: Any) -> Any:
    import tensorflow as tf

    return tf.nn.softmax_cross_entropy_with_logits(truth, scores)


def _ratio(truth: Any, scores: Any) -> Any:
    """-(z_y - max other z) / (z_1st - z_3rd): scaling the logits does not hide it."""
    import tensorflow as tf

    own = tf.reduce_sum(truth * scores, axis=1)
    other = tf.reduce_max(scores - 1e9 * truth, axis=1)
    ordered = tf.sort(scores, axis=1, direction="DESCENDING")
    return -(own - other) / (ordered[:, 0] - ordered[:, 2] + 1e-12)


def _apgd(name: str, subject: Subject, rows: Rows, labels: Labels, epsilon: float, norm: Norm, effort: Effort) -> Rows:
    from art.attacks.evasion import AutoProjectedGradientDescent
    from art.estimators.classification import TensorFlowV2Classifier

    scores = subject.scores(rows[:1])
    classifier = TensorFlowV2Classifier(
        _Model(subject),
        nb_classes=scores.shape[1],
        input_shape=rows.shape[1:],
        loss_object=_Loss(name),
        clip_values=(subject.low, subject.high),
    )
    apgd = AutoProjectedGradientDescent(
        classifier,
        norm=_norm(norm),
        eps=epsilon,
        eps_step=STEP_SHARE * epsilon,
        max_iter=effort.steps,
        nb_random_init=effort.restarts,
        batch_size=256,
        verbose=False,
    )
    return np.asarray(apgd.generate(rows, _one_hot(labels, scores.shape[1])))


def _square(subject: Subject, rows: Rows, labels: Labels, epsilon: float, norm: Norm, effort: Effort) -> Rows:
    from art.attacks.evasion import SquareAttack
    from art.estimators.classification import BlackBoxClassifierNeuralNetwork

    classes = subject.scores(rows[:1]).shape[1]
    scores = _Remembered(subject.scores, 2 * len(rows))
    classifier = BlackBoxClassifierNeuralNetwork(
        scores, rows.shape[1:], classes, channels_first=False, clip_values=(subject.low, subject.high)
    )
    square = SquareAttack(
        classifier,
        norm=_norm(norm),
        eps=epsilon,
        max_iter=effort.queries,
        p_init=_FIRST_SQUARE,
        nb_restarts=1,
        batch_size=256,
        verbose=False,
    )
    return np.asarray(square.generate(rows, _one_hot(labels, classes)))


class _Remembered:
    """Scores of rows; those that were asked for lately are not asked for again. Square wants each row's three times.

    Args:
        scores: of rows (n, ...).
        most: scores that are remembered for certain; twice as many may be.
    """

    def __init__(self, scores: Callable[[Rows], Scores], most: int) -> None:
        self._scores, self._most = scores, most
        self._late: dict[bytes, Any] = {}
        self._before: dict[bytes, Any] = {}

    def __call__(self, rows: Rows) -> Scores:
        keys = [hashlib.blake2b(row, digest_size=16).digest() for row in np.ascontiguousarray(rows)]
        found = [self._late.get(key, self._before.get(key)) for key in keys]
        new = [at for at, known in enumerate(found) if known is None]
        for at, score in zip(new, self._scores(rows[new]) if new else (), strict=True):
            found[at] = score
        if len(self._late) > self._most:
            self._before, self._late = self._late, {}
        self._late.update(zip(keys, found, strict=True))
        return np.asarray(found, np.float32)


class _Model:
    """A subject called as ART calls a Keras model."""

    def __init__(self, subject: Subject) -> None:
        self._subject = subject

    def __call__(self, rows: Any, training: bool = False) -> Any:
        del training
        import tensorflow as tf

        rows = tf.cast(rows, tf.float32)
        # Where the model has no gradient, as when it rounds, ART wants zeros: this adds 0, and the way to them.
        return self._subject.logits(rows) + 0 * tf.reduce_sum(rows)


def _one_hot(labels: Labels, classes: int) -> Rows:
    return np.eye(classes, dtype=np.float32)[labels]


def _norm(norm: Norm) -> float:
    return np.inf if norm == "inf" else 2


@contextmanager
def _seeded(rng: np.random.Generator) -> Iterator[None]:
    """ART draws from the global generators of numpy and Python; what others drew from them is put back."""
    before, own = np.random.get_state(), random.getstate()  # noqa: NPY002
    seed = int(rng.integers(2**32))
    np.random.seed(seed)  # noqa: NPY002
    random.seed(seed)
    try:
        yield
    finally:
        np.random.set_state(before)  # noqa: NPY002
        random.setstate(own)
