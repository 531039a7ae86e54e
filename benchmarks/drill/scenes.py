"""What is drilled: two models of different data, each with a server, a calibrated profile and rows held apart."""

import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.drill import tabular
from detectors.profile import Profile
from proxy.demo.data import load
from proxy.demo.model import DemoModel, demo_model
from proxy.demo.stage import START_SECONDS, model_server

FOLDER = Path("build/drill")
"""Where models, rows and profiles are kept."""
LEARNED = 5_000
"""Of Fashion-MNIST's test images, the first ones are what calibration sees; drills have the others."""
TRAINED = 45_000
"""Of its training images, the first ones are the model's; the others are what attackers have of the model's kind."""
FOREIGN = 10_000
SHOWING = ("report", "plot", "expect", "readme", "cli", "plan", "__main__")
CALLERS = 2_000
RATE = 0.001

Say = Callable[[str], None]


@dataclass(frozen=True)
class Scene:
    """One model, served; sent to worker processes as it is.

    Attributes:
        name: of model and data.
        upstream: host:port of the model server.
        input: the model's.
        outputs: the model's scores; each is `probabilities` or `logits`, as it is named.
        rows: .npz file for `proxy.drill.material.read`.
        profile: as calibrated.
        epsilon, radius: of evasions that count.
        about: a sentence or two for readers.
    """

    name: str
    upstream: str
    input: str
    outputs: tuple[str, ...]
    rows: Path
    profile: Path
    epsilon: float
    radius: float
    about: str


@dataclass(frozen=True)
class Data:
    """Attributes: rows by name, for the .npz file; benign, for the calibration; the others as in `Scene`."""

    input: str
    outputs: tuple[str, ...]
    arrays: dict[str, NDArray[Any]]
    benign: NDArray[Any]
    epsilon: float
    radius: float
    about: str


@contextmanager
def fashion(folder: Path, say: Say, callers: int = CALLERS) -> Iterator[Scene]:
    """Fashion-MNIST and the demo's model, trained without the images that attackers have.

    Args:
        folder: for everything that is kept.
        say: told of what takes time.
        callers: simulated for the calibration.
    """
    whole = load("fashion-mnist")
    trained = replace(whole, x_train=whole.x_train[:TRAINED], y_train=whole.y_train[:TRAINED])
    model = demo_model(trained, Path("build/demo"), say)

    def data() -> Data:
        from benchmarks.defenses.surrogate import other_images  # loads TensorFlow

        return Data(
            "image",
            ("logits", "probabilities"),
            {
                "x": whole.x_test[LEARNED:],
                "y": whole.y_test[LEARNED:],
                "pool_x": whole.x_train[TRAINED:],
                "pool_y": whole.y_train[TRAINED:],
                "member_x": whole.x_train[:LEARNED],
                "member_y": whole.y_train[:LEARNED],
                "foreign_x": other_images(FOREIGN, 28, np.random.default_rng(0)),
            },
            whole.x_test[:LEARNED],
            epsilon=0.1,
            radius=2.0,
            about=f"**Fashion-MNIST** (28x28 images, the demo's convolutional model, {model.accuracy:.1%} right).",
        )

    with _served(model, data(), folder, callers) as scene:
        yield scene


@contextmanager
def table(folder: Path, say: Say, callers: int = CALLERS) -> Iterator[Scene]:
    """Digits as table rows; see `benchmarks.drill.tabular`."""
    x, y = tabular.rows()
    own = folder / "digits-table"
    say("training the model of table rows")
    accuracy = tabular.write(own)
    trained, pool, learned = np.cumsum([tabular.TRAINED, tabular.POOL, tabular.LEARNED])
    rows, classes = tabular.held_apart(x, y)
    data = Data(
        "features",
        ("probabilities",),
        {
            "x": rows,
            "y": classes,
            "pool_x": x[trained:pool],
            "pool_y": y[trained:pool],
            "member_x": x[:trained],
            "member_y": y[:trained],
        },
        x[pool:learned],
        epsilon=0.1,
        radius=0.5,
        about=f"**Digits as a table** (64 numbers a row, a dense network, {accuracy:.1%} right; 1,797 rows in all).",
    )
    model = DemoModel(own.name, own, own, accuracy, reused=False)
    with _served(model, data, folder, callers) as scene:
        yield scene


@contextmanager
def _served(model: DemoModel, data: Data, folder: Path, callers: int) -> Iterator[Scene]:
    folder.mkdir(parents=True, exist_ok=True)
    rows = folder / f"{model.name}.npz"
    np.savez(rows, **data.arrays)
    with model_server(model, folder) as server:
        serving = re.compile(r"serving .* on (127\.0\.0\.1:\d+)")
        upstream = server.wait_for(lambda: serving.search(server.output()), START_SECONDS, "serving")[1]
        profile = _calibrated(folder, upstream, model.name, data.input, data.benign, callers)
        yield Scene(
            model.name, upstream, data.input, data.outputs, rows, profile, data.epsilon, data.radius, data.about
        )


def _calibrated(folder: Path, upstream: str, model: str, input_name: str, benign: NDArray[Any], callers: int) -> Path:
    """The profile; the one of an earlier run, if code and rows are the same."""
    known = blake2b(f"{digest('detectors', 'proxy/calibrate')} {callers}".encode() + benign.tobytes(), digest_size=6)
    out = folder / f"{model}-{known.hexdigest()}.profile.json"
    if not out.is_file():
        sample = folder / f"{model}-benign.npy"
        np.save(sample, benign)
        command = [sys.executable, "-m", "proxy", "calibrate", "--target", upstream, "--model", model]
        command += ["--input", input_name, "--data", str(sample), "--callers", str(callers), "--rate", str(RATE)]
        subprocess.run([*command, "--out", str(out)], check=True, stdout=subprocess.DEVNULL)
    Profile.read(out)
    return out


def digest(*folders: str) -> str:
    """Names the code of these folders, but for what only shows: what other code has measured is measured again."""
    found = blake2b(digest_size=6)
    for path in sorted(path for folder in folders for path in Path(folder).rglob("*.py")):
        if path.stem not in SHOWING:
            found.update(path.read_bytes())
    return found.hexdigest()


SCENES = {"fashion-mnist": fashion, "digits-table": table}
