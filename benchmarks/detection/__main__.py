"""Runs the attacks and the benign callers against a real proxy in front of a real model."""

import argparse
import json
import re
import statistics
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import yaml
from tqdm import tqdm

from benchmarks.defenses.served import Caller
from benchmarks.detection.attacks import ATTACKS, L2, run, succeeded
from detectors.calibration import batches, blamed
from detectors.engine import Engine
from detectors.features import Extractor, summarise
from detectors.observation import Observation
from detectors.profile import Profile
from detectors.workloads import benign
from proxy.demo.children import Child
from proxy.demo.data import Dataset, load
from proxy.demo.model import demo_model
from proxy.demo.stage import model_server

MODEL = "fashion-mnist"
LEARNED = 5000
"""The first test images are what calibration sees; attacks and benign callers use the others."""
CALLERS = 1000


def main() -> int:
    """Runs it; see `make bench-detection`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=10, help="images attacked, each against a fresh proxy")
    parser.add_argument("--callers", type=int, default=CALLERS, help="benign callers learned from, and judged")
    parser.add_argument("--out", type=Path, default=Path("build/bench-detection.json"))
    arguments = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as folder,
        learned(Path(folder), arguments.callers) as (profile, upstream, dataset),
        Caller(upstream, MODEL) as direct,
    ):
        results = {
            "attacks": [
                _attacked(name, mode, Path(folder), upstream, direct, dataset, arguments.runs)
                for name in ATTACKS
                for mode in ("off", "silent", "refuse")
            ],
            "benign": _judged(profile, direct, dataset, arguments.callers),
        }
    arguments.out.parent.mkdir(exist_ok=True)
    arguments.out.write_text(json.dumps(results, indent=1) + "\n")
    print(_table(results))
    return 0


@contextmanager
def learned(folder: Path, callers: int) -> Iterator[tuple[Profile, str, Dataset]]:
    """A profile learned from the first test images, the model server's address, and the images."""
    dataset = load("fashion-mnist")
    model = demo_model(dataset, Path("build/demo"), print)
    with model_server(model, folder) as server:
        upstream = server.wait_for(lambda: _address(server.output()), 90, "serving")
        yield _calibrated(folder, upstream, model.name, dataset, callers), upstream, dataset


def _address(output: str) -> str | None:
    found = re.search(r"serving .* on (127\.0\.0\.1:\d+)", output)
    return found and found[1]


def _calibrated(folder: Path, upstream: str, model: str, dataset: Dataset, callers: int) -> Profile:
    np.save(folder / "benign.npy", dataset.x_test[:LEARNED])
    command = [sys.executable, "-m", "proxy", "calibrate", "--target", upstream, "--model", model, "--input", "image"]
    command += ["--data", str(folder / "benign.npy"), "--out", str(folder / "profile.json"), "--callers", str(callers)]
    subprocess.run(command, check=True)
    return Profile.read(folder / "profile.json")


@contextmanager
def _proxy(folder: Path, upstream: str, model: str, mode: str) -> Iterator[tuple[str, str]]:
    """The gRPC and the admin address of a fresh proxy."""
    detection = {
        "mode": "off" if mode == "off" else "enforce",
        "profile": str(folder / "profile.json"),
        "policy": {"evasion": {"answer": "silent" if mode == "off" else mode}},
    }
    config = folder / "tensorwall.yaml"
    listen = {"grpc": "127.0.0.1:0", "admin": "127.0.0.1:0"}
    settings = {"upstream": upstream, "listen": listen, "models": {model: {"detection": detection}}}
    config.write_text(yaml.safe_dump(settings | {"shutdown": {"settle": 0, "drain": 1}, "log": {"format": "json"}}))
    with Child("the proxy", ["-m", "proxy", "serve", "--config", str(config)], folder / "proxy.log") as child:
        addresses = child.wait_for(lambda: _listening(child.output()), 30, "listening")
        child.wait_for(lambda: '"ready"' in child.output() or None, 30, "ready")
        yield addresses


def _listening(output: str) -> tuple[str, str] | None:
    for line in output.splitlines():
        if '"listening"' in line:
            event = json.loads(line)
            return event["grpc"], event["admin"]
    return None


def _attacked(
    name: str, mode: str, folder: Path, upstream: str, direct: Caller, dataset: Dataset, runs: int
) -> dict[str, Any]:
    won, rows, found = 0, [], []
    right = direct(dataset.x_test[LEARNED : LEARNED + 20 * runs]).classes
    labels = dataset.y_test[LEARNED : LEARNED + 20 * runs]
    places = [LEARNED + int(at) for at in np.flatnonzero(right == labels)][:runs]
    for at in tqdm(places, desc=f"{name}, {mode}", disable=None):
        image, label = dataset.x_test[at], int(dataset.y_test[at])
        with _proxy(folder, upstream, MODEL, mode) as (address, admin), Caller(address, MODEL) as caller:

            def ask(asked: Any, caller: Caller = caller) -> Any:
                try:
                    return caller(asked).probabilities
                except grpc.RpcError as error:
                    raise PermissionError(error.code().name) from None

            candidates = run(name, ask, image, label, seed=at)
            rows.append(caller.rows)
            found.append(_found(admin))
        won += succeeded(name, image, candidates, label, lambda asked: direct(asked).probabilities)
    known = [each["rows"] for each in found if each]
    return {
        "attack": name,
        "mode": mode,
        "runs": len(places),
        "rows": rows,
        "succeeded": won,
        "found": len(known),
        "found_after_rows": known,
        "by": sorted({each["detector"] for each in found if each}),
    }


def _found(admin: str) -> dict[str, Any] | None:
    """The first verdict on an acting step, and how many rows had been seen then."""
    with urllib.request.urlopen(f"http://{admin}/verdicts", timeout=10) as page:
        verdicts = json.load(page)["verdicts"]
    acting = [each for each in verdicts if each["highest"] != "observe" and each["subject"]["kind"] == "caller"]
    if not acting:
        return None
    first = min(acting, key=lambda each: each["acted_at"] or float("inf"))
    return {"rows": first["acted_at"], "detector": first["evidence"][0]["detector"]}


def _judged(profile: Profile, direct: Caller, dataset: Dataset, callers: int) -> dict[str, Any]:
    """Benign callers held apart from calibration, an hour of them in simulated time."""
    rng = np.random.default_rng(1)
    rows, labels = dataset.x_test[LEARNED:], dataset.y_test[LEARNED:].astype(np.int64)
    calls = benign(rows, labels, callers, rng, "judged")
    extractor = Extractor(profile.salt, profile.scaling)
    observations = []
    for call in tqdm(calls, desc="benign callers", disable=None):
        features = extractor({"image": call.rows}, len(call.rows))
        said = summarise(direct(call.rows).probabilities)
        observations.append(Observation(call.time, call.caller, (f"network:{call.caller}",), MODEL, "", features, said))
    kinds = {call.caller: call.kind for call in calls}
    engine = Engine(profile)
    acted = {
        caller
        for batch in batches(observations)
        for finding in engine.see(batch)
        if finding.alone
        for caller in blamed(finding.reading)
    }
    return {
        "callers": callers,
        "rows": sum(each.rows for each in observations),
        "found": len(acted),
        "kinds": sorted(kinds[caller] for caller in acted),
    }


def _table(results: dict[str, Any]) -> str:
    lines = [
        f"success: L-infinity 0.1 for Square, L2 {L2} for the others, on the model itself, within 500 rows",
        "",
        "| attack | enforcement | runs | succeeded | found | rows when found, median | by |",
        "|---|---|---|---|---|---|---|",
    ]
    for each in results["attacks"]:
        after = f"{statistics.median(each['found_after_rows']):.0f}" if each["found_after_rows"] else "-"
        found = "-" if each["mode"] == "off" else f"{each['found']}"
        by = ", ".join(each["by"]) or "-"
        lines.append(
            f"| {each['attack']} | {each['mode']} | {each['runs']} | {each['succeeded']} | {found} | {after} | {by} |"
        )
    benign_callers = results["benign"]
    lines += [
        "",
        f"benign: {benign_callers['found']} of {benign_callers['callers']} callers found by a single statistic "
        f"({benign_callers['rows']:,} rows): {', '.join(benign_callers['kinds']) or 'none'}",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
