"""A model through a caller's own channel: whether adversarial rows are answered right, and black-box attacks on it."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from defenses.retraining.robustness.subject import Subject
from proxy.drill.attacks.contract import RefusedError
from proxy.drill.wire import DrillError, Metadata, Model, Scale

ROWS = 32
"""Of a call; a refused call shields all of its rows."""
SHIELDED = ("PERMISSION_DENIED", "RESOURCE_EXHAUSTED")
"""What the proxy says to a caller that it has had enough of. Any other refusal is a fault of the model, or of ours."""


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
            answers = _asked(model, inside[part])
            if answers is not None:
                right[part] = answers.argmax(axis=1) == labels[part]
    return right


def subject_of(model: Model, scale: Scale, classes: int, low: float, high: float) -> Subject:
    """A served model for attacks that need no gradient; where it refuses, every class is as likely.

    Args:
        model: behind its channel.
        scale: of its rows.
        classes: that it tells apart.
        low, high: of the values of a row.
    """

    def logits(rows: Any) -> NDArray[np.float32]:
        answers = _asked(model, scale.rows(np.asarray(rows)))
        if answers is None:
            return np.zeros((len(rows), classes), np.float32)
        return np.log(np.maximum(answers, 1e-30))

    return Subject("through the proxy", logits, low, high)


def _asked(model: Model, inside: NDArray[np.float32]) -> NDArray[np.float32] | None:
    """The answers to rows in [0, 1]; None if the proxy has had enough of this caller."""
    try:
        return model(inside)
    except RefusedError as error:
        if not str(error).startswith(SHIELDED):
            raise DrillError(f"{model.address}: {model.name} does not take the rows: {error}") from None
        return None
