"""Adversarial rows through a caller's own channel: what they are worth against the deployment."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from proxy.drill.attacks.contract import RefusedError
from proxy.drill.wire import Metadata, Model, Scale

ROWS = 32
"""Of a call; a refused call shields all of its rows."""


def right_through(
    address: str,
    name: str,
    rows: NDArray[np.float32],
    labels: NDArray[Any],
    *,
    low: float = 0.0,
    high: float = 1.0,
    output: str | None = None,
    logits: bool = False,
    metadata: Metadata = (),
) -> NDArray[np.bool_]:
    """Which rows are answered right, or not at all, by what is served at an address.

    Args:
        address: host:port of the proxy, or of a model server.
        name: of the model.
        rows: (n, ...) as the model takes them, made adversarial on whatever model.
        labels: (n,) the truth.
        low, high: of the values of a row.
        output: that is read; absent: the first whose rows are distributions.
        logits: the output holds logits.
        metadata: sent with each call, such as an API key.

    Returns:
        (n,) of bool, for `Evaluation.under`.

    Raises:
        DrillError: there is no answer, or none that can be read.
    """
    scale = Scale.of(rows, (low, high))
    inside = scale.rows(rows)
    right = np.ones(len(rows), bool)
    with Model(address, name, scale, output=output, logits=logits, metadata=metadata) as model:
        for at in range(0, len(rows), ROWS):
            part = slice(at, at + ROWS)
            try:
                right[part] = model(inside[part]).argmax(axis=1) == labels[part]
            except RefusedError:
                continue
    return right
