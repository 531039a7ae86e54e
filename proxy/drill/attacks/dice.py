"""Seeds for code that throws global dice: the adversarial-robustness-toolbox and Keras."""

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np


@contextmanager
def seeded(rng: np.random.Generator) -> Iterator[int]:
    """Draws a seed, sets numpy's and Python's global generators by it for the time being, and gives it."""
    seed = int(rng.integers(2**31))
    before, plain = np.random.get_state(), random.getstate()  # noqa: NPY002  # the toolbox draws from it
    np.random.seed(seed)  # noqa: NPY002
    random.seed(seed)
    try:
        yield seed
    finally:
        np.random.set_state(before)  # noqa: NPY002
        random.setstate(plain)
