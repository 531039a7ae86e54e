"""Feature squeezing's score: how far a model's answers to squeezed copies of a row are from its answer to the row.

Xu, Evans, Qi 2018 (NDSS), "Feature Squeezing": an adversarial row's answer changes more under squeezing than a benign
one's. The score is the largest L1 distance over the squeezers, 0 to 2. What it is worth: it finds attacks that do not
know of it, and no threshold from a paper holds for another model, so calibrate it on benign rows. It is evaded by an
attacker who takes the squeezers into the loss (He et al. 2017, "Adversarial example defenses: ensembles of weak
defenses are not strong").
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def disagreement(own: NDArray[Any], squeezed: NDArray[Any]) -> NDArray[np.float64]:
    """The score of each row.

    Args:
        own: (rows, classes) probabilities.
        squeezed: (copies, rows, classes) probabilities for the squeezed copies.

    Returns:
        (rows,), 0 to 2; NaN where an answer is not finite.
    """
    distance = np.abs(squeezed.astype(np.float64) - own.astype(np.float64)).sum(axis=-1)
    score: NDArray[np.float64] = distance.max(axis=0)
    return score


def softmax(logits: NDArray[Any]) -> NDArray[np.float64]:
    """Probabilities (rows, classes) of logits."""
    wide = logits.astype(np.float64)
    with np.errstate(invalid="ignore"):  # rows with infinities become NaN
        powers = np.exp(wide - wide.max(axis=-1, keepdims=True))
        probabilities: NDArray[np.float64] = powers / powers.sum(axis=-1, keepdims=True)
    return probabilities
