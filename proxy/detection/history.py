"""What a caller's rows were like, for whoever has to judge: how near to each other, how much a copy would have learned.

Kept beside the detectors, in their process; nothing of it decides anything.
"""

from collections import OrderedDict, deque
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detectors.observation import DIMENSIONS, Floats, Observation
from detectors.profile import Profile

WINDOW = 16
"""Earlier rows of the caller that each of its rows is compared with."""
MAX_DISTANCES = 256
MAX_SAMPLES = 128
"""Of the progress; when there are more, every second one goes, so that the whole curve stays."""
MAX_CALLERS = 1024
"""Of one model, about 6 KB each. Who was silent longest goes first, those of whom nothing was found before others."""
MAX_FOUND = 512
BINS = 24

Distances = NDArray[np.float32]


@dataclass(slots=True)
class _Caller:
    rows: int = 0
    latest: Floats = field(default_factory=lambda: np.zeros((0, DIMENSIONS), np.float32))
    distances: deque[float] = field(default_factory=lambda: deque(maxlen=MAX_DISTANCES))
    progress: list[tuple[float, int, float]] = field(default_factory=list)
    stride: int = 1
    skipped: int = 0


class History:
    """The callers of one model. Not for several threads at once.

    Args:
        profile: the model's, for what is usual.
        progress: how far a copy made by a caller would have come, a share; None if that is not followed.

    Attributes:
        evicted: callers that were forgotten.
    """

    def __init__(self, profile: Profile, progress: Callable[[str], float | None]) -> None:
        self.evicted = 0
        self._usual = _nearest(profile.benign.embeddings, np.zeros((0, DIMENSIONS), np.float32))[WINDOW:]
        self._progress = progress
        self._quiet: OrderedDict[str, _Caller] = OrderedDict()
        self._found: OrderedDict[str, _Caller] = OrderedDict()

    def __len__(self) -> int:
        return len(self._quiet) + len(self._found)

    def take(self, batch: Sequence[Observation], found: Collection[str]) -> None:
        """Takes observations in.

        Args:
            batch: oldest first.
            found: callers of whom something was found in it.
        """
        for observation in batch:
            caller = self._of(observation.caller, observation.caller in found)
            rows = observation.features.embeddings
            nearest = _nearest(rows, caller.latest)
            first = 1 if not len(caller.latest) else 0  # the very first row is near to none
            caller.distances.extend(nearest[first:].tolist())
            caller.latest = np.concatenate([caller.latest, rows])[-WINDOW:]
            caller.rows += observation.rows
            self._sample(observation.caller, caller, observation.time)

    def show(self, name: str) -> dict[str, Any] | None:
        """Distances and progress of a caller, ready for JSON; None if it is unknown."""
        caller = self._found.get(name) or self._quiet.get(name)
        if caller is None:
            return None
        points = [{"time": time, "rows": rows, "fidelity": round(share, 4)} for time, rows, share in caller.progress]
        return {
            "distances": _histogram(np.array(caller.distances, np.float32), self._usual),
            "progress": {"points": points} if points else None,
        }

    def _of(self, name: str, found: bool) -> _Caller:
        caller = self._found.get(name) or self._quiet.get(name) or _Caller()
        if found or name in self._found:
            self._quiet.pop(name, None)
            self._found[name] = caller
            self._found.move_to_end(name)
        else:
            self._quiet[name] = caller
            self._quiet.move_to_end(name)
        if len(self._found) > MAX_FOUND:
            self._quiet.update([self._found.popitem(last=False)])
        if len(self) > MAX_CALLERS:
            (self._quiet or self._found).popitem(last=False)
            self.evicted += 1
        return caller

    def _sample(self, name: str, caller: _Caller, time: float) -> None:
        share = self._progress(name)
        caller.skipped += 1
        if share is None or caller.skipped < caller.stride:
            return
        caller.skipped = 0
        caller.progress.append((time, caller.rows, share))
        if len(caller.progress) > MAX_SAMPLES:
            del caller.progress[::2]
            caller.stride *= 2


def _nearest(rows: Floats, before: Floats) -> Distances:
    """(rows,) distance of each row to the nearest of the WINDOW rows before it, those of `before` included."""
    if len(rows) == 1 and len(before):  # most calls; all that follows takes ten times as long
        distances: Distances = np.sqrt(((before[-WINDOW:] - rows) ** 2).sum(axis=1).min(keepdims=True))
        return distances
    missing = np.full((WINDOW - len(before[-WINDOW:]), DIMENSIONS), np.inf, np.float32)
    every = np.concatenate([missing, before[-WINDOW:], rows])
    earlier = np.lib.stride_tricks.sliding_window_view(every, WINDOW, axis=0)[: len(rows)]
    squares = ((earlier - rows[:, :, np.newaxis]) ** 2).sum(axis=1)
    nearest: Distances = np.sqrt(squares.min(axis=1))
    return nearest


def _histogram(own: Distances, usual: Distances) -> dict[str, Any] | None:
    """Shares of both by distance; the last bin has what is beyond."""
    if not len(own):
        return None
    end = float(1.5 * np.quantile(usual, 0.95)) if len(usual) else float(1.2 * own.max())
    edges = np.linspace(0, max(end, 1e-6), BINS + 1)

    def shares(values: Distances) -> list[float]:
        counts, _ = np.histogram(values.clip(0, edges[-1]), edges)
        return [round(float(count), 4) for count in counts / len(values)]

    said = f"Half of its rows lie within {np.median(own):.3g} of an earlier one of its own"
    if len(usual):
        said += f"; of rows of benign callers, half lie within {np.median(usual):.3g} of each other"
    return {
        "edges": [float(f"{edge:.4g}") for edge in edges],
        "own": shares(own),
        "usual": shares(usual) if len(usual) else None,
        "rows": len(own),
        "said": f"{said}.",
    }
