"""What a profile is learned from, wherever it came from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from detectors.features import Scaling
from detectors.observation import Observation

MAX_ROWS = 1_000_000
"""Rows kept for a calibration: about 0.6 GB."""


class TrafficError(Exception):
    """There is no traffic to learn from; `str()` is what the operator reads."""


@dataclass(frozen=True, slots=True)
class Traffic:
    """Benign traffic of one model.

    Attributes:
        observations: in the order of their times.
        scaling: of inputs' columns, with which their features were made.
        notes: what was left out, and what to know of the rest; one line each.
    """

    observations: Sequence[Observation]
    scaling: Mapping[str, Scaling]
    notes: Sequence[str] = ()


def left_out(rows: int, callers: int, by_defaults: int = 0) -> list[str]:
    """Says that callers under a verdict are no part of it."""
    if not callers:
        return []
    note = f"left out {rows:,} rows of {callers:,} callers under a verdict"
    if by_defaults:
        note += f"; {by_defaults:,} of these callers were found by the stated defaults alone, which may well be wrong"
    return [note]
