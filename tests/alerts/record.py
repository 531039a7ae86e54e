"""Records what a proxy exports during a real attack, as test series for promtool: `python -m tests.alerts.record`.

A real model, the embedded server, a proxy and attacks of the drill, each as a caller of its own, beside benign callers
who never stop. One scrape a second; it is replayed as one in fifteen seconds, so that a run of minutes is tested as one
of an hour. The ladder's times are short for the same reason. Kept are the series that the alert rules read.
"""

import json
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import yaml
from prometheus_client.parser import text_string_to_metric_families

from detectors.profile import Profile
from protos import serving_pb2 as serving
from proxy.demo.data import load
from proxy.demo.model import demo_model
from proxy.drill.attacks import ATTACKS, BudgetSpentError, Labels, Probabilities, RefusedError, Rows, Target
from proxy.tensors import to_array
from tests.alerts import rules
from tests.processes import Proxy, Running, admin_page, free_port, model_available, serving_proxy
from tests.protection.toy import proto

OUT = Path(__file__).with_name("recorded.json")
MODELS = "fashion", "trial"
"""The same model under two names: detection is enforced on the first, and in shadow on the second."""
CALLERS = 200
ASKED = {"knockoff": 300, "square": 300, "simba": 300, "inversion": 1500}
"""Attacks of the drill, and the rows that each may ask."""
LADDER = [{"step": "observe", "score": 2, "ttl": 3}, {"step": "coarsen", "score": 3, "ttl": 6}]
LADDER += [{"step": "throttle", "score": 5, "ttl": 6}, {"step": "block", "score": 8, "ttl": 6}]
PATIENCE = 240.0
"""Seconds for a model server to start, on a machine that does something else as well."""
PREDICT = "/tensorflow.serving.PredictionService/Predict"


@dataclass
class Recording:
    """Values by series, one a second; None where a series was not there.

    Attributes:
        admin: whose metrics.
        series: what was read.
        marks: at which second what began.
    """

    admin: str
    series: dict[str, list[float | None]] = field(default_factory=dict)
    marks: dict[str, int] = field(default_factory=dict)
    seconds: int = 0
    _over: threading.Event = field(default_factory=threading.Event)

    def mark(self, what: str) -> None:
        """Something begins now."""
        self.marks[what] = self.seconds
        print(f"{self.seconds:4} s: {what}", flush=True)

    def run(self) -> None:
        """Scrapes until told to stop."""
        wanted = {name for rule in rules.alerts().values() for name in rules.metrics(rule["expr"])}
        began = time.monotonic()
        while not self._over.wait(max(0.0, began + self.seconds - time.monotonic())):
            self._take(wanted)
            self.seconds += 1

    def _take(self, wanted: set[str]) -> None:
        with urllib.request.urlopen(f"http://{self.admin}/metrics", timeout=5) as page:
            text = page.read().decode()
        found = {'up{job="tensorwall",instance="a:8601"}': 1.0}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                if sample.name in wanted:
                    labels = {"job": "tensorwall", "instance": "a:8601", **sample.labels}
                    if "target" in labels:
                        labels["target"] = "models-0:8500"
                    shown = ",".join(f'{name}="{value}"' for name, value in labels.items())
                    found[f"{sample.name}{{{shown}}}"] = sample.value
        for name in found.keys() | self.series.keys():
            values = self.series.setdefault(name, [None] * self.seconds)
            values.append(found.get(name))

    @contextmanager
    def running(self) -> Iterator["Recording"]:
        """Scrapes during the block."""
        thread = threading.Thread(target=self.run)
        thread.start()
        try:
            yield self
        finally:
            self._over.set()
            thread.join()

    def write(self, path: Path) -> None:
        """The series in promtool's notation, runs of equal values as one."""
        series = {name: _notation(values) for name, values in sorted(self.series.items())}
        path.write_text(json.dumps({"marks": self.marks, "seconds": self.seconds, "series": series}, indent=0) + "\n")


def _notation(values: list[float | None]) -> str:
    """`0x3 1 _x2`: a value, how often it comes again; what is missing."""
    said: list[str] = []
    runs: list[list[Any]] = []
    for value in values:
        if runs and runs[-1][0] == value:
            runs[-1][1] += 1
        else:
            runs.append([value, 1])
    for value, count in runs:
        shown = "_" if value is None else f"{value:.6g}"
        said.append(shown if count == 1 else f"_x{count}" if value is None else f"{shown}x{count - 1}")
    return " ".join(said)


class Thief:
    """The attacker's way in: every question goes to both deployments, and either answer will do."""

    def __init__(self, channel: grpc.Channel, budget: int, caller: str) -> None:
        self.rows = self.refused = 0
        self._ask = channel.unary_unary(PREDICT)
        self._budget, self._caller = budget, caller

    def __call__(self, rows: Rows) -> Probabilities:
        """See `Oracle`."""
        if self.rows + len(rows) > self._budget:
            raise BudgetSpentError
        answers = [answer for model in MODELS if (answer := self.ask(model, rows)) is not None]
        if not answers:
            self.refused += len(rows)
            raise RefusedError
        self.rows += len(rows)
        return answers[-1]

    def ask(self, model: str, rows: Rows) -> Probabilities | None:
        """None if it is refused."""
        request = serving.PredictRequest(model_spec=serving.ModelSpec(name=model))
        request.inputs["image"].CopyFrom(proto(rows))
        try:
            reply = self._ask(request.SerializeToString(), timeout=20, metadata=(("x-forwarded-for", self._caller),))
        except grpc.RpcError:
            return None
        probabilities: Probabilities = to_array(serving.PredictResponse.FromString(reply).outputs["probabilities"])
        return probabilities


def benign(channel: grpc.Channel, rows: Rows, over: threading.Event) -> None:
    """Ten callers with ordinary rows, a row each in turn."""
    at = 0
    callers = [Thief(channel, 10**9, f"10.1.{number}.1") for number in range(10)]
    while not over.wait(0.1):
        for model in MODELS:
            callers[at % 10].ask(model, rows[at % len(rows)][None])
        at += 1


def target(rows: Rows, labels: Labels, foreign: Rows) -> Target:
    """What the attackers have."""
    return Target(
        classes=10,
        budget=0,  # each attack has its own
        seeds=rows[:2],
        seed_labels=labels[:2],
        pool=rows[100:400],
        pool_labels=labels[100:400],
        members=rows[400:410],
        member_labels=labels[400:410],
        others=rows[410:420],
        other_labels=labels[410:420],
        foreign=foreign,
    )


def foreign(count: int) -> Rows:
    """Handwritten digits, enlarged: rows of another domain."""
    from sklearn.datasets import load_digits

    images = np.asarray(load_digits().images[:count], np.float32) / 16
    large = np.pad(images.repeat(3, axis=1).repeat(3, axis=2), ((0, 0), (2, 2), (2, 2)))
    return np.asarray(large[..., None], np.float32)


def wait(seconds: float) -> None:
    """Something is recorded meanwhile."""
    time.sleep(seconds)


def attack(recording: Recording, proxy: Proxy, channel: grpc.Channel, aim: Target) -> None:
    """All attacks, each as a caller of its own, and the wait until nothing is held against anybody."""
    for number, (name, budget) in enumerate(ASKED.items()):
        recording.mark(name)
        thief = Thief(channel, budget, f"10.2.{number}.1")
        ATTACKS[name].run(thief, replace(aim, budget=budget), np.random.default_rng(number))
        wait(2)
        print("      ", thief.rows, "rows;", [(v["technique"], v["step"], v["mode"]) for v in verdicts(proxy)])
    recording.mark("over")
    until(lambda: not verdicts(proxy), 120)
    recording.mark("forgotten")
    wait(30)


def verdicts(proxy: Proxy) -> list[dict[str, Any]]:
    """Those that stand."""
    found: list[dict[str, Any]] = json.loads(admin_page(proxy.admin, "/verdicts"))["verdicts"]
    return found


def until(condition: Callable[[], bool], seconds: float) -> None:
    """Waits for it."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.2)


def faults(recording: Recording, proxy: Proxy, config: Path, backend: Running, restart: Callable[[], Running]) -> None:
    """A wrong configuration for a while, then no model server for a while."""
    good = config.read_text()
    recording.mark("config wrong")
    config.write_text("upstream: 5\n")
    wait(12)
    recording.mark("config right")
    config.write_text(good)
    wait(12)
    recording.mark("upstream down")
    backend.kill()
    wait(20)
    again = restart()
    try:
        again.wait_until(lambda: _ready(proxy), "ready again", PATIENCE)
        recording.mark("upstream up")
        wait(24)
    finally:
        again.kill()


def _ready(proxy: Proxy) -> bool:
    try:
        with urllib.request.urlopen(f"http://{proxy.admin}/readyz", timeout=2):
            return True
    except OSError:
        return False


def main() -> None:
    """Records."""
    dataset = load("fashion-mnist")
    model = demo_model(dataset, Path("build/demo"), print)
    port = free_port()
    named = [argument for name in MODELS for argument in ("--model", f"{name}={model.versions}")]
    start = partial(Running, "backend", *named, "--port", str(port))
    with tempfile.TemporaryDirectory() as name, grpc.insecure_channel(f"127.0.0.1:{port}") as direct:
        folder, backend = Path(name), start()
        try:
            for each in MODELS:
                backend.wait_until(partial(model_available, direct, each), "serving", PATIENCE)
            calibrated(folder, port, dataset.x_test[:3000])
            rows, labels = dataset.x_test[5000:], dataset.y_test[5000:].astype(np.int64)
            with serving_proxy(folder, f"127.0.0.1:{port}", **settings(folder)) as proxy:
                record(proxy, folder, rows, labels, backend, start)
        finally:
            backend.kill()


def record(
    proxy: Proxy, folder: Path, rows: Rows, labels: Labels, backend: Running, start: Callable[[], Running]
) -> None:
    """One run."""
    over = threading.Event()
    with grpc.insecure_channel(proxy.address) as channel, Recording(proxy.admin).running() as recording:
        callers = threading.Thread(target=benign, args=(channel, rows[500:], over))
        callers.start()
        try:
            recording.mark("benign")
            wait(30)
            attack(recording, proxy, channel, target(rows, labels, foreign(300)))
            faults(recording, proxy, folder / "tensorwall.yaml", backend, start)
        finally:
            over.set()
            callers.join()
    recording.write(OUT)


def calibrated(folder: Path, port: int, rows: Rows) -> None:
    """Learns a profile of the first model; the second gets the same, since it is the same."""
    np.save(folder / "rows.npy", rows)
    command = [sys.executable, "-m", "proxy", "calibrate", "--target", f"127.0.0.1:{port}", "--model", MODELS[0]]
    command += ["--input", "image", "--data", str(folder / "rows.npy"), "--callers", str(CALLERS), "--rate", "0.01"]
    subprocess.run([*command, "--out", str(folder / f"{MODELS[0]}.json")], check=True)
    replace(Profile.read(folder / f"{MODELS[0]}.json"), model=MODELS[1]).write(folder / f"{MODELS[1]}.json")


def settings(folder: Path) -> dict[str, Any]:
    """Sections of the proxy's configuration."""
    response = {"answer": "refuse", "ladder": LADDER, "half_life": 5}
    policy = dict.fromkeys(("evasion", "extraction", "membership", "inversion"), response)
    models = {
        name: {"detection": {"mode": mode, "profile": str(folder / f"{name}.json"), "policy": policy}}
        for name, mode in zip(MODELS, ("enforce", "shadow"), strict=True)
    }
    return {"models": yaml.safe_load(json.dumps(models)), "identity": {"order": ["forwarded_for"]}}


if __name__ == "__main__":
    main()
