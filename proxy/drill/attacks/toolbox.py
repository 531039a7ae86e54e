"""The evasion attacks of the adversarial-robustness-toolbox (ART), which is loaded when the first one runs.

They see the logarithm of the answered probabilities where their papers climb on logits, and the seed's own class where
a call was refused. Each search ends by itself or with the hunt's allowance, and never asks for the same row twice.
"""

from typing import Any

import numpy as np

from proxy.drill.attacks.contract import Probabilities, Rows
from proxy.drill.attacks.dice import seeded
from proxy.drill.attacks.hunt import Evasion, Hunt

SMALLEST = 1e-7
"""Probabilities below are taken for it before the logarithm; about what float32 leaves of a sure answer."""
ENDLESS = 10_000
"""Iterations that only the allowance ends."""


def _black_box(hunt: Hunt, shape: tuple[int, ...], *, logarithm: bool = False) -> Any:
    from art.estimators.classification import BlackBoxClassifierNeuralNetwork

    def predict(rows: Rows) -> Probabilities:
        answers = hunt(rows)
        return np.log(np.maximum(answers, SMALLEST)) if logarithm else answers

    return BlackBoxClassifierNeuralNetwork(
        predict, shape, hunt.target.classes, channels_first=False, clip_values=(0.0, 1.0)
    )


def _truth(hunt: Hunt) -> Probabilities:
    return np.eye(hunt.target.classes, dtype=np.float32)[[hunt.label]]


def _generate(attack: Any, hunt: Hunt, rng: np.random.Generator, shape: tuple[int, ...], **more: Any) -> None:
    with seeded(rng), np.errstate(divide="ignore", invalid="ignore"):  # the hunt ends on rows that are not finite
        hunt(attack.generate(hunt.seed.reshape(1, *shape), _truth(hunt), **more))


def _hop_skip_jump(hunt: Hunt, rng: np.random.Generator) -> None:
    from art.attacks.evasion import HopSkipJump

    start = hunt.start(rng)
    if start is None:
        return
    first = int(np.clip(hunt.allowance // 10, 10, 100))
    attack = HopSkipJump(
        _black_box(hunt, hunt.seed.shape), norm=2, max_iter=ENDLESS, init_eval=first, max_eval=ENDLESS, verbose=False
    )
    _generate(attack, hunt, rng, hunt.seed.shape, x_adv_init=start[None])


def _boundary(hunt: Hunt, rng: np.random.Generator) -> None:
    from art.attacks.evasion import BoundaryAttack

    start = hunt.start(rng)
    if start is None:
        return
    attack = BoundaryAttack(
        _black_box(hunt, hunt.seed.shape),
        targeted=False,
        max_iter=ENDLESS,
        sample_size=10,
        delta=0.1,
        epsilon=0.1,
        verbose=False,
    )
    _generate(attack, hunt, rng, hunt.seed.shape, x_adv_init=start[None])


def _square(hunt: Hunt, rng: np.random.Generator) -> None:
    from art.attacks.evasion import SquareAttack

    attack = SquareAttack(
        _black_box(hunt, hunt.seed.shape, logarithm=True),
        norm=np.inf,
        eps=hunt.target.epsilon,
        max_iter=max(1, hunt.allowance),
        p_init=0.3,
        nb_restarts=ENDLESS,
        verbose=False,
    )
    _generate(attack, hunt, rng, hunt.seed.shape)


def _zoo(hunt: Hunt, rng: np.random.Generator) -> None:
    from art.attacks.evasion import ZooAttack

    attack = ZooAttack(
        _black_box(hunt, hunt.seed.shape, logarithm=True),
        learning_rate=hunt.target.epsilon,
        max_iter=ENDLESS,
        initial_const=10.0,
        abort_early=False,
        use_resize=False,
        use_importance=False,
        nb_parallel=min(32, hunt.seed.size),
        variable_h=0.01,  # wide enough for inputs of 8 bits
        verbose=False,
    )
    _generate(attack, hunt, rng, hunt.seed.shape)


def _simba(hunt: Hunt, rng: np.random.Generator) -> None:
    from art.attacks.evasion import SimBA

    shape = hunt.seed.shape if hunt.seed.ndim == 3 else (hunt.seed.size, 1, 1)  # it takes nothing but images
    attack = SimBA(
        _black_box(hunt, shape),
        attack="px",
        max_iter=ENDLESS,
        epsilon=0.15 * hunt.target.radius,
        order="random",
        verbose=False,
    )
    _generate(attack, hunt, rng, shape)


HOP_SKIP_JUMP = Evasion("HopSkipJump", "2", _hop_skip_jump)
"""Chen, Jordan, Wainwright 2020 (arXiv 1904.02144): needs labels only; the gradient at the boundary by sampling."""
BOUNDARY = Evasion("Boundary", "2", _boundary)
"""Brendel, Rauber, Bethge 2018 (arXiv 1712.04248): needs labels only; a random walk along the boundary."""
SQUARE = Evasion("Square", "inf", _square, images=True)
"""Andriushchenko et al. 2020 (arXiv 1912.00049): random squares that lower the margin; ends with the first success."""
ZOO = Evasion("ZOO", "2", _zoo)
"""Chen et al. 2017 (arXiv 1708.03999): coordinate descent by finite differences."""
SIMBA = Evasion("SimBA", "2", _simba)
"""Guo et al. 2019 (arXiv 1905.07121): single values up or down; ends with the first success."""
