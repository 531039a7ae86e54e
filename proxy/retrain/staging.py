"""A version before it is published: served by the embedded model server, behind a proxy as it will stand before it.

The proxy has the operator's settings for the model: its defenses, its ladder, its detection, limits and bounds. Where
it listens, who calls, capture and events are its own, so that nothing of the trial reaches the real one's records.
"""

import contextlib
import os
import re
import secrets
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from defenses.retraining.after import Proxied
from defenses.retraining.deployment import DeploymentError
from defenses.retraining.evaluation import Evaluation, Material
from defenses.retraining.robustness import ensemble
from defenses.retraining.robustness.subject import Rows
from detectors.calibration import CalibrationError, calibrate
from proxy.calibrate.asked import DataError, SampleError
from proxy.calibrate.asked import Model as Asked
from proxy.calibrate.sample import simulated
from proxy.config import load
from proxy.config.detection import Detection
from proxy.demo.children import Child, ChildError, proxy_addresses
from proxy.drill.wire import DrillError, Model, Scale
from proxy.retrain.through import right_through, subject_of

START_SECONDS = 600.0
"""For a server to be ready: the model server imports TensorFlow, on a machine that has just trained."""
KEPT = ("bounds", "limits", "secret")
RATE = 0.001
"""Benign callers found wrongly; as `tensorwall calibrate` has it."""
PGD, SQUARE = "PGD through the proxy", "Square through the proxy"


class Staging:
    """The `Deployment` of a job.

    Args:
        name: of the model, as it is served.
        settings: the job's.
        span: least and greatest value of an input.
        seed: of the attacks and of the simulated callers.

    Raises:
        ConfigError: the proxy's configuration is wrong.
    """

    def __init__(self, name: str, settings: Proxied, span: tuple[float, float], seed: int) -> None:
        self._name, self._settings, self._span, self._seed = name, settings, span, seed
        model = load(settings.config).models.get(name)
        self._detection = (model.detection if model is not None else None) or Detection()
        self._text = settings.config.read_text()

    def attacked(self, evaluation: Evaluation, folder: Path, material: Material) -> Evaluation:
        """PGD's rows go through the proxy, and Square searches for others where the rest has failed.

        A row that the proxy's defenses alone turn wrong is no attacker's success.
        """
        rows, labels = material.rows, material.labels
        rng = np.random.default_rng([self._seed, 3])
        left = np.flatnonzero(evaluation.robust)
        own = np.sort(rng.choice(left, min(self._settings.rows, len(left)), replace=False))
        found = evaluation.robust.copy()
        images = ensemble.SQUARE in ensemble.names(int(labels.max()) + 1, rows.shape[1:], evaluation.plan.norm)
        try:
            with self._served(folder) as upstream, self._proxied(upstream) as address:
                clean = self._right(address, rows, labels)
                sent = self._right(address, evaluation.adversarial, labels) | ~clean
                if images and len(own):
                    searched = self._searched(address, evaluation, rows[own], labels[own], rng)
                    found[own] = self._right(address, searched, labels[own]) | ~clean[own]
        except (ChildError, DrillError, OSError) as error:
            raise DeploymentError(f"{folder} cannot be tried behind the proxy: {error}") from None
        evaluation = evaluation.under(PGD, sent & evaluation.right["clean"])
        return evaluation.under(SQUARE, found) if images else evaluation

    def profile(self, folder: Path, rows: Rows) -> Callable[[], str]:
        """As `tensorwall calibrate --data` learns it, from simulated callers of the exported model."""
        path, rng, salt = self._settings.profile, np.random.default_rng([self._seed, 4]), secrets.token_bytes(32)
        assert path is not None
        names = self._detection.inputs
        try:
            with self._served(folder) as address:
                asked = Asked(address, self._name, names[0] if len(names) == 1 else None, self._detection)
                with contextlib.closing(asked):
                    traffic = simulated(rows, asked, salt, self._settings.callers, rng)
            learned = calibrate(traffic.observations, self._name, salt, RATE, rng, traffic.scaling)
        except (CalibrationError, ChildError, DataError, SampleError, OSError) as error:
            raise DeploymentError(f"the benign profile of {folder} cannot be learned: {error}") from None

        def write() -> str:
            try:
                learned.write(path)
            except OSError as error:
                raise DeploymentError(f"the benign profile cannot be written to {path}: {error.strerror}") from None
            return f"Its benign profile {learned.digest} is in {path}; the proxy takes it with SIGHUP."

        return write

    def _right(self, address: str, rows: Rows, labels: Any) -> Any:
        low, high = self._span
        return right_through(address, self._name, rows, labels, low=low, high=high, **self._reading)

    def _searched(self, address: str, evaluation: Evaluation, rows: Rows, labels: Any, rng: Any) -> Rows:
        scale, (low, high) = Scale.of(rows, self._span), self._span
        with Model(address, self._name, scale, **self._reading) as model:
            classes = model(scale.rows(rows[:1])).shape[1]
            subject = subject_of(model, scale, classes, low, high)
            effort = ensemble.Effort(queries=self._settings.queries)
            plan = evaluation.plan
            return ensemble.attack(
                ensemble.SQUARE, subject, rows, labels, plan.epsilon, rng, norm=plan.norm, effort=effort
            )

    @property
    def _reading(self) -> dict[str, Any]:
        return {"output": self._detection.output, "logits": self._detection.semantics == "logits"}

    @contextlib.contextmanager
    def _served(self, folder: Path) -> Iterator[str]:
        """Address of an embedded model server with the version in `folder` alone."""
        with tempfile.TemporaryDirectory(prefix="tensorwall-staging-") as made:
            base = Path(made) / "model"
            base.mkdir()
            (base / "1").symlink_to(folder.resolve())
            arguments = ["-m", "proxy", "backend", "--model", f"{self._name}={base}", "--port", "0"]
            with Child("the model server", arguments, Path(made) / "log", _environment()) as child:
                serving = re.compile(r"serving .* on (127\.0\.0\.1:\d+)")
                yield child.wait_for(lambda: serving.search(child.output()), START_SECONDS, "serving")[1]

    @contextlib.contextmanager
    def _proxied(self, upstream: str) -> Iterator[str]:
        """Address of a proxy with the operator's settings for the model."""
        values = yaml.safe_load(self._text)
        config = {
            "upstream": upstream,
            "listen": {"grpc": "127.0.0.1:0", "admin": "127.0.0.1:0"},
            "models": {self._name: (values.get("models") or {}).get(self._name) or {}},
            "log": {"format": "json"},
            **{key: values[key] for key in KEPT if key in values},
        }
        with tempfile.TemporaryDirectory(prefix="tensorwall-staging-") as made:
            path = Path(made) / "tensorwall.yaml"
            path.touch(mode=0o600)
            path.write_text(yaml.safe_dump(config, sort_keys=False))
            arguments = ["-m", "proxy", "serve", "--config", str(path)]
            with Child("the proxy", arguments, Path(made) / "log", _environment()) as child:
                address, admin = child.wait_for(lambda: proxy_addresses(child), START_SECONDS, "listening")
                child.wait_for(lambda: _ready(admin), START_SECONDS, "ready")
                yield address


def _environment() -> dict[str, str]:
    """The children import what this process imports, from wherever that is."""
    here = str(Path(__file__).parents[2])
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, (here, os.environ.get("PYTHONPATH"))))}


def _ready(admin: str) -> bool | None:
    try:
        with urllib.request.urlopen(f"http://{admin}/readyz", timeout=START_SECONDS) as response:
            return bool(response.status == 200) or None
    except (urllib.error.URLError, OSError):
        return None
