"""An hour of load, a fifth of it cancelled, with callers who come and go and an attack: does everything stay flat?

    python -m benchmarks.soak [--seconds 3600] [--rate 100] [--callers 2000] [--out build/soak.json] [--plot PNG]

One real proxy with detection enforced, capture and the audit log on, in front of a model server that answers at once;
callers in a process of their own. Each interval the proxy's memory, open files, threads and tasks are looked at, and
the latency that callers saw. Writes the intervals as JSON, a Markdown table beside it and a plot, and exits 1 if a
figure is not flat (`flat.py` says what that is), or if a call failed that should not have. Linux only (/proc is read).
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from benchmarks.soak.flat import FIGURES, judged
from benchmarks.soak.load import LOAD
from benchmarks.soak.report import plot, table
from benchmarks.soak.upstream import upstream
from detectors.profile import Profile
from detectors.rows import CAPACITY
from tests.faults.seen import figure
from tests.processes import Proxy, serving_proxy

INTERVALS = 120
SHORTEST = 2.0
"""Seconds of an interval."""
EXPECTED = {"OK", "CANCELLED", "PERMISSION_DENIED"}
"""How calls may end: the attack's are refused once it is found."""
SALT = b"of the benchmark"


def main() -> int:
    """Runs it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=3600)
    parser.add_argument("--rate", type=float, default=100, help="calls a second")
    parser.add_argument("--callers", type=int, default=2000, help="benign ones, a tenth of them at a time")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("build/soak.json"))
    parser.add_argument("--plot", type=Path, default=Path("build/soak.png"))
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, _proxy(Path(folder)) as proxy:
        intervals = list(_intervals(proxy, arguments))
        detected = figure(proxy, "tensorwall_attacks_total")
        errors = proxy.process.log().count('"level": "error"')
    found = [judged(each, [interval[each.key] for interval in intervals]) for each in FIGURES]
    failed = sorted({code for each in intervals for code in each["ended"]} - EXPECTED)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    settings = {name: str(value) if isinstance(value, Path) else value for name, value in vars(arguments).items()}
    content = {
        "settings": settings,
        "attacks": detected,
        "errors": errors,
        "failed": failed,
        "judged": [asdict(each) for each in found],
        "intervals": intervals,
    }
    arguments.out.write_text(json.dumps(content, indent=1) + "\n")
    said = table(intervals, found)
    arguments.out.with_suffix(".md").write_text(said + "\n")
    plot(intervals, found, arguments.plot)
    print(said)
    print(f"\nAttacks found: {detected:.0f}. Errors logged: {errors}. Failures: {', '.join(failed) or 'none'}.")
    full = CAPACITY / arguments.rate  # seconds; until then the detectors' tables grow
    early = arguments.seconds < 3 * full
    rising = [each.figure.title for each in found if not (each.flat or (early and each.figure.fills))]
    print(f"Verdict: {'not flat: ' + '; '.join(rising) if rising else 'flat'}.")
    if early:
        print(
            f"Memory was not judged: the detectors' tables fill for the first {full:.0f} s, and the middle third of a "
            f"run has to come after that. Soak for {3 * full:.0f} s or more."
        )
    wrong = [
        *(["not flat"] if rising else []),
        *(["calls failed"] if failed else []),
        *(["errors were logged"] if errors else []),
        *([] if detected else ["no attack was found"]),
    ]
    print(f"Result: {'FAILED: ' + ', '.join(wrong) if wrong else 'passed'}.")
    return int(bool(wrong))


@contextmanager
def _proxy(folder: Path) -> Iterator[Proxy]:
    with ExitStack() as stack:
        address = stack.enter_context(upstream())
        profile = folder / "profile.json"
        replace(Profile.defaults(LOAD.name, SALT), calibrated=True).write(profile)
        policy = {technique: {"answer": "refuse"} for technique in ("evasion", "extraction")}
        detection = {"mode": "enforce", "profile": str(profile), "policy": policy}
        settings: dict[str, Any] = {
            "models": {LOAD.name: {"detection": detection}},
            "identity": {"order": ["forwarded_for"]},
            "limits": [{"by": "caller", "rate": "1000/s"}, {"by": "caller", "in_flight": 100}],
            "capture": {
                "path": str(folder / "capture"),
                "models": {LOAD.name: 0.1},
                "file_bytes": "4MiB",
                "disk_bytes": "32MiB",
            },
            "events": {"file": {"path": str(folder / "audit.jsonl")}},
        }
        yield stack.enter_context(serving_proxy(folder, address, **settings))


def _intervals(proxy: Proxy, asked: argparse.Namespace) -> Iterator[dict[str, Any]]:
    interval = max(SHORTEST, asked.seconds / INTERVALS)
    numbers = (asked.seconds + interval / 2, interval, asked.rate, asked.callers, asked.seed)
    command = [sys.executable, "-m", "benchmarks.soak.load", proxy.address, *map(str, numbers)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as driver:
        assert driver.stdout is not None
        for line in driver.stdout:
            yield json.loads(line) | _held(proxy)
    assert driver.returncode == 0, "the load failed"


def _held(proxy: Proxy) -> dict[str, float]:
    status = Path(f"/proc/{proxy.process.process.pid}/status").read_text()
    threads, memory = (re.search(rf"^{name}:\s+(\d+)", status, re.MULTILINE) for name in ("Threads", "VmRSS"))
    assert threads is not None
    assert memory is not None
    return {
        "memory_mb": int(memory[1]) / 1000,
        "detectors_mb": figure(proxy, "tensorwall_detection_memory_bytes") / 1e6,
        "threads": int(threads[1]),
        "files": figure(proxy, "process_open_fds"),
        "tasks": figure(proxy, "tensorwall_tasks"),
        "calls": figure(proxy, "tensorwall_calls_in_flight"),
        "observed": figure(proxy, "tensorwall_observed_rows_total"),
        "unobserved": figure(proxy, "tensorwall_unobserved_rows_total"),
        "captured": figure(proxy, "tensorwall_captured_calls_total"),
    }


if __name__ == "__main__":
    sys.exit(main())
