"""Query attacks from the adversarial-robustness-toolbox, stopped after a number of rows."""

import contextlib
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Images = NDArray[np.float32]
Ask = Callable[[Images], NDArray[np.float32]]

BUDGET = 500
EPSILON = 0.1
"""L-infinity, within which an adversarial image counts as a success; 2.0 in L2 for the attacks that minimise that."""
L2 = 2.0


class _SpentError(Exception):
    """The budget is used up."""


def _hop_skip_jump(classifier: Any) -> Any:
    from art.attacks.evasion import HopSkipJump

    return HopSkipJump(
        classifier, targeted=False, max_iter=10, max_eval=1000, init_eval=50, init_size=50, verbose=False
    )


def _square(classifier: Any) -> Any:
    from art.attacks.evasion import SquareAttack

    return SquareAttack(classifier, norm=np.inf, max_iter=BUDGET, eps=EPSILON, p_init=0.3, nb_restarts=1, verbose=False)


def _boundary(classifier: Any) -> Any:
    from art.attacks.evasion import BoundaryAttack

    return BoundaryAttack(
        classifier, targeted=False, max_iter=200, num_trial=10, sample_size=10, init_size=50, verbose=False
    )


def _zoo(classifier: Any) -> Any:
    from art.attacks.evasion import ZooAttack

    return ZooAttack(
        classifier,
        max_iter=20,
        nb_parallel=32,
        binary_search_steps=1,
        use_resize=False,
        use_importance=False,
        learning_rate=0.05,
        initial_const=10.0,
        verbose=False,
    )


def _simba(classifier: Any) -> Any:
    from art.attacks.evasion import SimBA

    return SimBA(classifier, attack="px", max_iter=BUDGET, epsilon=0.3, order="random", verbose=False)


ATTACKS: dict[str, Callable[[Any], Any]] = {
    "HopSkipJump": _hop_skip_jump,
    "Square": _square,
    "Boundary": _boundary,
    "ZOO": _zoo,
    "SimBA": _simba,
}


def run(name: str, ask: Ask, image: Images, label: int, seed: int) -> list[Images]:
    """Attacks one image (H, W, 1); returns the rows that the attacker was told are adversarial, nearest first.

    Args:
        name: of ATTACKS.
        ask: probabilities of rows; may raise PermissionError, which ends the attack.
        image: in [0, 1].
        label: what the attacker knows it to be.
        seed: of the attack's own dice, which are numpy's global ones.
    """
    from art.estimators.classification import BlackBoxClassifierNeuralNetwork

    spent = 0
    told: list[Images] = []

    def predict(rows: Images) -> NDArray[np.float32]:
        nonlocal spent
        rows = np.asarray(rows, dtype=np.float32).reshape(-1, *image.shape)
        if spent + len(rows) > BUDGET:
            raise _SpentError
        spent += len(rows)
        answers = ask(rows)
        told.extend(row for row, answer in zip(rows, answers, strict=True) if answer.argmax() != label)
        return answers

    np.random.seed(seed)  # noqa: NPY002  # the toolbox draws from it
    classifier = BlackBoxClassifierNeuralNetwork(predict, image.shape, 10, clip_values=(0, 1), channels_first=False)
    with contextlib.suppress(_SpentError, PermissionError):
        told.extend(np.asarray(ATTACKS[name](classifier).generate(image[np.newaxis]), dtype=np.float32))
    return sorted(told, key=lambda row: float(np.linalg.norm(row - image)))


def succeeded(name: str, image: Images, candidates: list[Images], label: int, model: Ask) -> bool:
    """Whether the model itself is wrong on one of the candidates that is near enough."""
    near = [row for row in candidates if _near(name, row - image)][:200]
    return bool(near) and bool((model(np.stack(near)).argmax(axis=1) != label).any())


def _near(name: str, change: Images) -> bool:
    if name == "Square":
        return float(np.abs(change).max()) <= EPSILON + 1e-4
    return float(np.linalg.norm(change)) <= L2
