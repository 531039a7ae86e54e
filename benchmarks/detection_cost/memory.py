"""Memory of the detectors over a million observations of a hundred thousand callers.

    python -m benchmarks.detection_cost.memory [--observations 1000000] [--callers 100000] [--out build/NAME.json]

In one process, without a proxy: a row of synthetic features each, at a thousand observations a second of simulated
time, and one in ten near an earlier one, so that every table fills. Prints the resident memory at intervals, and by how
much it grew over the second half. Linux only (memory is read from /proc).
"""

import argparse
import json
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from detectors.engine import Engine
from detectors.features import summarise
from detectors.observation import DIMENSIONS, FINGERPRINT, Features, Observation
from detectors.profile import Profile

BATCH = 200
CLASSES = 10
NEAR = 0.1
"""Of the rows that lie close to one of a hundred others."""
INTERVALS = 20


def main() -> int:
    """Runs it; 1 if memory grew by more than a twentieth over the second half."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--observations", type=int, default=1_000_000)
    parser.add_argument("--callers", type=int, default=100_000)
    parser.add_argument("--out", type=Path, default=Path("build/detection-memory.json"))
    arguments = parser.parse_args()
    engine = Engine(Profile.defaults("synthetic", bytes(16)))
    seen, began = [], time.process_time()
    for done, batch in _batches(arguments.observations, arguments.callers, np.random.default_rng(0)):
        if done % max(BATCH, arguments.observations // INTERVALS) < BATCH:
            seen.append((done, _resident()))
            print(f"{done:>9} observations: {seen[-1][1]:.0f} MB", flush=True)
        engine.see(batch)
    seen.append((arguments.observations, _resident()))
    half = seen[len(seen) // 2][1]
    microseconds = (time.process_time() - began) / arguments.observations * 1e6
    print(f"{seen[-1][1]:.0f} MB at the end, {seen[-1][1] - half:+.1f} MB over the second half")
    print(f"{microseconds:.0f} microseconds of CPU time an observation, making them included")
    tracked = {name: dict(stats.tracked) | dict(stats.dropped) for name, stats in engine.stats().items()}
    arguments.out.parent.mkdir(exist_ok=True)
    figures = {"megabytes": seen, "cpu_microseconds": microseconds, "tracked_and_dropped": tracked}
    arguments.out.write_text(json.dumps(figures, indent=1) + "\n")
    return int(seen[-1][1] > 1.05 * half)


def _batches(count: int, callers: int, rng: np.random.Generator) -> Iterator[tuple[int, list[Observation]]]:
    centres = rng.normal(0, 0.12, (100, DIMENSIONS)).astype(np.float32)
    for done in range(0, count, BATCH):
        rows = min(BATCH, count - done)
        embeddings = rng.normal(0, 0.12, (rows, DIMENSIONS)).astype(np.float32)
        near = rng.random(rows) < NEAR
        embeddings[near] = centres[rng.integers(0, len(centres), near.sum())] + embeddings[near] * np.float32(0.02)
        hashes = np.sort(rng.integers(1, 2**63, (rows, FINGERPRINT)).astype(np.uint64), axis=1)
        features = Features(rng.integers(1, 2**63, rows).astype(np.uint64), hashes, embeddings)
        said = summarise(rng.dirichlet(np.full(CLASSES, 0.3), rows))
        names = [f"peer:{number}" for number in rng.integers(0, callers, rows).tolist()]
        yield (
            done,
            [
                Observation((done + at) / 1000, name, (f"network:{name[:-1]}",), "m", "", features[row], said[row])
                for at, name in enumerate(names)
                for row in (slice(at, at + 1),)
            ],
        )


def _resident() -> float:
    """Megabytes."""
    found = re.search(r"VmRSS:\s+(\d+)", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1]) / 1000


if __name__ == "__main__":
    sys.exit(main())
