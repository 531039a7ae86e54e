"""Which rows a step is made of: it follows from a seed and the number of the step, so that a resumed run finds them."""

import secrets
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Batch = tuple[NDArray[np.int64], NDArray[np.float32]]
"""Indices of rows (B,), and 1 for those that are in the step, 0 for those that only fill it up (B,)."""
SPREADS = 5.0
"""Standard deviations above the mean for which Poisson sampling keeps room, so that steps are of one size and compiled
once; a step with more rows is larger."""


def shuffled(seed: int, rows: int, batch: int) -> Callable[[int], Batch]:
    """Each epoch in an order of its own, all steps of `batch` rows; what is left at the end of an epoch is not used."""
    order: tuple[int, NDArray[np.int64]] = (-1, np.empty(0, np.int64))
    everyone = np.ones(batch, np.float32)

    def of(step: int) -> Batch:
        nonlocal order
        epoch, place = divmod(step, rows // batch)
        if order[0] != epoch:
            order = epoch, np.random.default_rng([seed, 1, epoch]).permutation(rows)
        return order[1][place * batch : (place + 1) * batch], everyone

    return of


def poisson(key: str, rows: int, batch: int, replicas: int) -> Callable[[int], Batch]:
    """Each row by a coin of its own, `batch` of them on average.

    Args:
        key: of `new_key`.
        rows: to draw from.
        batch: on average.
        replicas: a multiple of which a step has.
    """
    room = batch + SPREADS * batch**0.5

    def of(step: int) -> Batch:
        drawn = np.flatnonzero(np.random.default_rng([int(key, 16), step]).random(rows) < batch / rows)
        size = -(-max(int(room), len(drawn)) // replicas) * replicas
        present = (np.arange(size) < len(drawn)).astype(np.float32)
        return np.concatenate([drawn, np.zeros(size - len(drawn), np.int64)]), present

    return of


def new_key() -> str:
    """A secret of 128 bits, in hexadecimal: whoever knows it can take the noise away again."""
    return secrets.token_hex(16)
