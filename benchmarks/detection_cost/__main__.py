"""Calls a second and CPU seconds a call of a real proxy, with detection off, in shadow and enforced, by turns.

    python -m benchmarks.detection_cost [--seconds 4] [--turns 5] [--loads image,table] [--out build/NAME.json]

One proxy for each mode, all in front of the throughput benchmark's stub, which answers at once, so that the proxy is
what limits and the share that detection costs is at its largest. 16 calls are in flight, of 100 callers over four
connections, all rows distinct, with 64 different answers. Load and upstream speak HTTP/2 from prepared bytes: a gRPC
client and server in Python would take more of the machine than the proxy does, and hide what detection adds. CPU
seconds are the proxy's (all threads), read from /proc: what else the machine does moves them little. They are counted
with its detectors' process, and `main` are those of the process alone that answers calls.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from benchmarks.detection_cost.traffic import CLASSES, LOADS, Load, natural, reply, requests
from benchmarks.throughput.callers import CALLERS
from benchmarks.throughput.framing import framed
from benchmarks.throughput.payloads import Payload
from benchmarks.throughput.processes import cpu_seconds, family
from benchmarks.throughput.upstream import standing_in
from benchmarks.throughput.watched import total
from detectors.calibration import calibrate
from detectors.features import Extractor, summarise
from detectors.observation import Observation
from tests.processes import Proxy, serving_proxy

MODES = ("off", "shadow", "enforce")
LEARNED = 50_000
"""Rows of the profile: more than any caller sends here in all, so that nobody asks for unusually much."""
SALT = b"of the benchmark"
MOST = 20_000
"""Distinct requests that are made before."""
REPLIES = 64
_SETTLE = 1.0
"""Seconds after a measurement in which the detectors see what still waits; their CPU time counts."""


@dataclass(frozen=True, slots=True)
class Measured:
    """One turn.

    Attributes:
        calls: a second.
        cpu: seconds a call, of the proxy and its detectors.
        main: of these, without the detectors' process.
        seen: share of rows that the detectors saw.
    """

    calls: float
    cpu: float
    main: float
    seen: float


def main() -> int:
    """Runs it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=4.0, help="of one measurement")
    parser.add_argument("--turns", type=int, default=5, help="measurements of each mode and load")
    parser.add_argument("--loads", default=",".join(load.name for load in LOADS), help="which loads")
    parser.add_argument("--modes", default=",".join(MODES), help="which modes; the first is what others compare with")
    parser.add_argument("--out", type=Path, default=Path("build/detection-cost.json"))
    arguments = parser.parse_args()
    loads = [load for load in LOADS if load.name in arguments.loads.split(",")]
    modes = arguments.modes.split(",")
    taken: dict[str, dict[str, list[Measured]]] = {load.name: {mode: [] for mode in modes} for load in loads}
    for load in loads:
        asked = _payload(load)
        with tempfile.TemporaryDirectory() as folder, _proxies(Path(folder), load, asked, modes) as proxies:
            requests = Path(folder, "requests")
            requests.write_bytes(b"".join(map(framed, asked.requests)))
            for turn in range(arguments.turns):
                for mode in modes if turn % 2 == 0 else modes[::-1]:
                    command = [str(requests), str(len(framed(asked.reply))), str(arguments.seconds), str(turn)]
                    taken[load.name][mode].append(_measured(proxies[mode], load, command))
    arguments.out.parent.mkdir(exist_ok=True)
    raw = {load: {mode: [asdict(each) for each in turns] for mode, turns in by.items()} for load, by in taken.items()}
    arguments.out.write_text(json.dumps(raw, indent=1) + "\n")
    print(_table(loads, taken))
    return 0


def _payload(load: Load) -> Payload:
    rng = np.random.default_rng(0)
    first, *others = (reply(load.name, load.rows, rng) for _ in range(REPLIES))
    return Payload(load.name, load.rows, requests(load, MOST, 0), first, tuple(others))


@contextmanager
def _proxies(folder: Path, load: Load, asked: Payload, modes: list[str]) -> Iterator[dict[str, Proxy]]:
    profile = str(_profile(folder, load))
    identity = {"order": ["forwarded_for"]}
    with ExitStack() as stack:
        address = stack.enter_context(standing_in(folder, asked))
        proxies = {}
        for mode in modes:
            own = folder / mode
            own.mkdir()
            models = {load.name: {"detection": {"mode": mode, "profile": profile}}}
            proxies[mode] = stack.enter_context(serving_proxy(own, address, models=models, identity=identity))
        yield proxies


def _profile(folder: Path, load: Load) -> Path:
    """Learned from callers like those of the load; of the 28x28 images' kind for photographs, which would take long."""
    like = load if len(load.shape) == 1 else LOADS[0]
    path = folder / f"{like.name}.json"
    if not path.exists():
        rng = np.random.default_rng(1)
        rows = natural(like, LEARNED, rng)
        features = Extractor(SALT)({"x": rows}, len(rows))
        said = summarise(rng.dirichlet(np.full(CLASSES, 0.3), len(rows)))
        observations = []
        for at, caller in enumerate(rng.integers(0, CALLERS, len(rows)).tolist()):
            one, groups = slice(at, at + 1), (f"network:{caller}",)
            observations.append(Observation(at / 1000, str(caller), groups, load.name, "", features[one], said[one]))
        calibrate(observations, load.name, SALT, 0.001, rng).write(path)
    return path


def _measured(proxy: Proxy, load: Load, arguments: list[str]) -> Measured:
    command = [sys.executable, "-m", "benchmarks.detection_cost.load", proxy.address, *arguments]
    pid = proxy.process.process.pid
    seen, lost = _rows(proxy, load)
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as driver:
        assert driver.stdout is not None
        assert driver.stdout.readline() == "begin\n", "the load could not start"
        main, detectors = _cpu(pid)
        answered, took, failed = driver.stdout.readline().split()
        assert not int(failed), f"{failed} calls failed"
    time.sleep(_SETTLE)
    main, detectors = (after - before for after, before in zip(_cpu(pid), (main, detectors), strict=True))
    after_seen, after_lost = _rows(proxy, load)
    share = (after_seen - seen) / max(1.0, after_seen - seen + after_lost - lost)
    return Measured(int(answered) / float(took), (main + detectors) / int(answered), main / int(answered), share)


def _cpu(pid: int) -> tuple[float, float]:
    """Seconds so far of the proxy and of its detectors."""
    return cpu_seconds([pid]), cpu_seconds(family(pid)[1:])


def _rows(proxy: Proxy, load: Load) -> tuple[float, float]:
    """Rows that detectors saw so far, and rows that they did not see."""
    seen, lost = (total(proxy.admin, f"tensorwall_{kind}_rows", load.name) for kind in ("observed", "unobserved"))
    return seen or 0.0, lost or 0.0


def _table(loads: list[Load], taken: dict[str, dict[str, list[Measured]]]) -> str:
    lines = [
        "| load | detection | calls/s | CPU ms a call | main | rows seen | calls/s, of the first | CPU, of it | main |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for load in loads:
        shape = "x".join(map(str, load.shape))
        first = next(iter(taken[load.name].values()))
        for mode, turns in taken[load.name].items():
            # Turns are paired: what else the machine did meanwhile is the same for both, more or less.
            share = statistics.median(own.calls / other.calls for own, other in zip(turns, first, strict=True))
            cpu = statistics.median(other.cpu / own.cpu for own, other in zip(turns, first, strict=True))
            alone = statistics.median(other.main / own.main for own, other in zip(turns, first, strict=True))
            calls, spent, main, seen = (
                statistics.median(getattr(turn, what) for turn in turns) for what in ("calls", "cpu", "main", "seen")
            )
            shown = "-" if mode == "off" else f"{seen:.0%}"
            figures = (
                f"{calls:.0f} | {spent * 1e3:.3f} | {main * 1e3:.3f} | {shown} | {share:.2f} | {cpu:.2f} | {alone:.2f}"
            )
            lines.append(f"| {load.rows} x {shape} | {mode} | {figures} |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
