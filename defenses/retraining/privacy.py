"""DP-SGD (Abadi et al. 2016, arXiv:1607.00133): what it adds to a step, and the (epsilon, delta) that a run has spent.

Each row enters a step by a coin of its own (Poisson sampling), its gradient is clipped, and Gaussian noise is added to
the sum. The guarantee is for adding or removing one training row. It is counted in Renyi differential privacy.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import tensorflow as tf

ORDERS = (*range(2, 65), 80, 96, 128, 192, 256, 512)
"""Of the Renyi divergence; the best one is taken."""


@dataclass(frozen=True)
class Spent:
    """(epsilon, delta)-differential privacy of the weights, with regard to each training row."""

    epsilon: float
    delta: float


def spent(rate: float, noise: float, steps: int, delta: float) -> Spent:
    """What so many steps have spent.

    The conversion from Renyi differential privacy is Proposition 12 of Canonne et al. 2020 (arXiv:2004.00010).

    Args:
        rate: probability with which a row enters a step.
        noise: standard deviation of the noise, in clipping bounds.
        steps: done.
        delta: of the guarantee.
    """
    if not steps:
        return Spent(0.0, delta)
    epsilons = (
        steps * renyi(rate, noise, order) + math.log1p(-1 / order) - (math.log(delta) + math.log(order)) / (order - 1)
        for order in ORDERS
    )
    return Spent(max(0.0, min(epsilons)), delta)


def renyi(rate: float, noise: float, order: int) -> float:
    """Renyi divergence of one step at a whole order of at least 2 (Mironov et al. 2019, arXiv:1908.10530, section 3.3).

    Args:
        rate: probability with which a row enters the step.
        noise: standard deviation of the noise, in clipping bounds.
        order: alpha.
    """
    if rate == 1:
        return order / (2 * noise**2)
    terms = [
        math.lgamma(order + 1) - math.lgamma(k + 1) - math.lgamma(order - k + 1)
        + (order - k) * math.log1p(-rate) + k * math.log(rate)
        + k * (k - 1) / (2 * noise**2)
        for k in range(order + 1)
    ]  # fmt: skip
    most = max(terms)
    return (most + math.log(sum(math.exp(term - most) for term in terms))) / (order - 1)


def clipped_sum(gradients: Sequence[Any], present: Any, bound: float) -> list[Any]:
    """The sum over rows of their gradients, each scaled down to a Euclidean length of `bound` over all variables.

    Args:
        gradients: (B, ...) for each variable.
        present: (B,) 1 for rows that are in the step, 0 for those that fill it up.
        bound: of the length.
    """
    rows = [tf.reshape(each, (tf.shape(each)[0], -1)) for each in gradients]
    lengths = tf.sqrt(tf.add_n([tf.reduce_sum(each**2, axis=1) for each in rows]))
    weights = present * tf.minimum(1.0, bound / tf.maximum(lengths, 1e-12))
    return [tf.tensordot(weights, each, axes=[[0], [0]]) for each in gradients]


def noised(total: Sequence[Any], deviation: float, key: Any, index: Any) -> list[Any]:
    """Gaussian noise added to each variable's sum; it follows from the secret key (2,) and the number of the step."""
    seed = tf.random.fold_in(key, index)
    return [
        each + deviation * tf.random.stateless_normal(tf.shape(each), tf.random.fold_in(seed, n))
        for n, each in enumerate(total)
    ]
