"""What was measured, as it is kept in JSON."""

import math
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

Z = 1.959964
"""Of 95 % intervals."""


class Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Share(Record):
    """A share of rows with its 95 % interval (Wilson 1927), all in [0, 1]."""

    count: int
    rows: Annotated[int, Field(gt=0)]
    value: float
    low: float
    high: float

    @classmethod
    def of(cls, hits: NDArray[np.bool_]) -> "Share":
        """The share of rows (rows,) that are true."""
        count, rows = int(hits.sum()), len(hits)
        value = count / rows
        middle = (value + Z**2 / (2 * rows)) / (1 + Z**2 / rows)
        half = Z / (1 + Z**2 / rows) * math.sqrt(value * (1 - value) / rows + Z**2 / (4 * rows**2))
        return cls(
            count=count,
            rows=rows,
            value=value,
            low=min(value, max(0.0, middle - half)),
            high=max(value, min(1.0, middle + half)),
        )


class Queried(Record):
    """An attack by queries: accuracy left, and the rows it asked for, a mean over attacked images."""

    accuracy: Share
    queries: float


class Latency(Record):
    """Medians in seconds of a call through a bare and through the defended proxy, by turns."""

    rows: int
    bare: float
    defended: float

    @property
    def added_a_row(self) -> float:
        """Seconds."""
        return (self.defended - self.bare) / self.rows


class Evasion(Record):
    """One defense under attack: accuracies of the defended model.

    Attributes:
        clean: without an attack.
        fgsm, pgd: crafted on the served model itself without its defense.
        other: PGD crafted on a surrogate trained by itself.
        square, hop: by queries through the proxy.
        adaptive: by an attacker who has the model and the defense.
        one, many: added time.
        seconds: what measuring this took.
    """

    defense: str
    clean: Share
    fgsm: Share
    pgd: Share
    other: Share
    square: Queried
    hop: Queried
    adaptive: Share
    one: Latency
    many: Latency
    seconds: float


class Advantage(Record):
    """A membership attack: true minus false positive rate with its 95 % interval, and the area under the ROC curve."""

    value: float
    low: float
    high: float
    auc: float

    @classmethod
    def of(cls, members: NDArray[np.bool_], others: NDArray[np.bool_], auc: float) -> "Advantage":
        """From what was called a member among members and among others; a normal interval for the difference."""
        hit, miss = float(members.mean()), float(others.mean())
        half = Z * math.sqrt(hit * (1 - hit) / len(members) + miss * (1 - miss) / len(others))
        return cls(value=hit - miss, low=hit - miss - half, high=hit - miss + half, auc=auc)


class Membership(Record):
    """Both attacks on one model."""

    model: str
    train_accuracy: float
    test_accuracy: float
    threshold: Advantage
    shadow: Advantage


class Secrets(Record):
    """What one answer defense keeps back.

    Attributes:
        membership: one entry a model.
        fidelity: agreement with the served model of a surrogate trained on its answers.
        read: the output whose answers made that surrogate.
        surrogate_accuracy: of that surrogate on test images.
        seconds: what measuring this took.
    """

    defense: str
    membership: tuple[Membership, ...]
    fidelity: Share
    read: str
    surrogate_accuracy: float
    seconds: float


class Results(Record):
    """All of it."""

    data: str
    model_accuracy: float
    epsilon: float
    seed: int
    scale: dict[str, int | str]
    versions: dict[str, str]
    evasion: tuple[Evasion, ...]
    secrets: tuple[Secrets, ...]
    seconds: float
