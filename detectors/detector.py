"""What a detector is, the built-in ones and anyone's own."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from detectors.findings import Reading
from detectors.observation import Observation


@dataclass(frozen=True, slots=True)
class DetectorStats:
    """What a metrics exporter reads of a detector.

    Attributes:
        tracked: what it keeps, by kind, as in {"callers": 12}.
        dropped: what it forgot to stay within its bound, by kind.
        gauges: estimates to be shown, by name.
    """

    tracked: Mapping[str, int] = field(default_factory=dict)
    dropped: Mapping[str, int] = field(default_factory=dict)
    gauges: Mapping[str, float] = field(default_factory=dict)


class Detector(Protocol):
    """Reads statistics off one model's observations. One thread calls it, with times that hardly ever go back."""

    @property
    def name(self) -> str:
        """As in the configuration and in metrics."""

    def see(self, batch: Sequence[Observation]) -> Iterable[Reading]:
        """Takes observations in, oldest first, and reads what they changed. Looking up and learning are one step."""

    def stats(self) -> DetectorStats:
        """Counts for the metrics."""
