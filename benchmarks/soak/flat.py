"""Whether a figure stayed where it was: the median of the last third against that of the middle third.

The first third is not looked at: caches and the detectors' tables fill until they have reached their bounds.
"""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

GROWTH = 0.05


@dataclass(frozen=True, slots=True)
class Figure:
    """What is watched.

    Attributes:
        key: of the intervals.
        title: in tables and plots, with its unit.
        slack: a rise by so much is none, however small the figure is.
        fills: it rises until the detectors' tables are full, and cannot be judged before.
    """

    key: str
    title: str
    slack: float
    fills: bool = False


FIGURES = (
    Figure("memory_mb", "resident memory, MB", 2.0, fills=True),
    Figure("detectors_mb", "detectors' memory, MB", 2.0, fills=True),
    Figure("files", "open files", 3.0),
    Figure("threads", "threads", 1.0),
    Figure("tasks", "tasks", 5.0),
    Figure("p50_ms", "latency p50, ms", 0.2),
    Figure("p99_ms", "latency p99, ms", 2.0),
)


@dataclass(frozen=True, slots=True)
class Judged:
    """One figure's thirds.

    Attributes:
        figure: which.
        ends: the first and the last value.
        thirds: their medians.
        flat: whether the last is at most GROWTH, or the figure's slack, above the middle one.
    """

    figure: Figure
    ends: tuple[float, float]
    thirds: tuple[float, float, float]
    flat: bool


def judged(figure: Figure, values: Sequence[float]) -> Judged:
    """Judges a figure.

    Raises:
        ValueError: there are fewer than three values.
    """
    if len(values) < 3:
        raise ValueError(f"{len(values)} intervals have no thirds; soak for longer")
    size = len(values) // 3
    parts = values[: len(values) - 2 * size], values[-2 * size : -size], values[-size:]
    first, middle, last = (statistics.median(part) for part in parts)
    return Judged(
        figure,
        (values[0], values[-1]),
        (first, middle, last),
        last <= max(middle * (1 + GROWTH), middle + figure.slack),
    )
