"""What reaches the detectors, in which order: one process's own observations, or those that several share (`shared`).

Detectors are functions of an ordered log of observations, entry by entry: who has the same log
comes to the same findings.
"""

from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias

from proxy.detection.watched import Remote

Source: TypeAlias = Literal["own", "other", "past"]
"""Whose entry it is: this process's, that of another, which reports what follows from it, or one from before."""


class Batch(NamedTuple):
    """Observations of one model, one at least: how many rows they are of, and themselves as bytes (`wire`)."""

    rows: int
    encoded: bytes


@dataclass(frozen=True, slots=True)
class Entry:
    """What reaches the detectors in one step.

    Attributes:
        model: its name.
        source: whose it is.
        time: when it was appended, seconds since 1970.
        rows: of the observations.
        engine: for which it was read; another one reads it again.
        content: observations, as bytes (`wire`); empty where the detectors have them already.
        end: where it ends in the shared log; 0 if it is not in it yet.
        seq: of a record of this process that is not in it yet.
    """

    model: str
    source: Source
    time: float
    rows: int
    engine: Remote
    content: bytes = b""
    end: int = 0
    seq: int = 0
