"""Profiles of what is usual, so that detection can be enforced: learned from simulated benign callers of each kind."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.detection_cost.traffic import CLASSES
from benchmarks.throughput.payloads import rows
from detectors.calibration import calibrate
from detectors.features import Extractor, summarise
from detectors.observation import Observation
from detectors.workloads import benign

CALLERS = 100
ROWS = 4000
RATE = 0.001
SALT = b"of the benchmark"


def profile(folder: Path, name: str) -> Path:
    """The file of a payload's profile, made if it is not there. Large images take that of small ones."""
    like = {"images": "image", "photo": "image"}.get(name, name)
    path = folder / f"{like}.profile.json"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        rng = np.random.default_rng(1)
        calibrate(_observations(rows(like, ROWS, rng), like, rng), like, SALT, RATE, rng).write(path)
    return path


def _observations(sample: NDArray[Any], name: str, rng: np.random.Generator) -> list[Observation]:
    extractor = Extractor(SALT)
    found = []
    for call in benign(sample, rng.integers(0, CLASSES, len(sample)), CALLERS, rng):
        said = summarise(rng.dirichlet(np.full(CLASSES, 0.3), len(call.rows)))
        features = extractor({"x": call.rows}, len(call.rows))
        found.append(Observation(call.time, call.caller, (f"network:{call.caller}",), name, "", features, said))
    return found
