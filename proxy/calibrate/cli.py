"""`tensorwall calibrate`: learns a model's benign profile and writes it to one file."""

import argparse
import secrets
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detectors.calibration import CalibrationError, calibrate
from detectors.profile import Profile
from proxy.calibrate.sample import Model, SampleError, observations, read
from proxy.config.detection import Detection

SALT_BYTES = 32


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command line."""
    parser.add_argument("--model", required=True, help="the served model's name")
    parser.add_argument(
        "--target", required=True, metavar="HOST:PORT", help="the model server (or a proxy), to be asked"
    )
    parser.add_argument(
        "--data", required=True, type=Path, metavar="FILE", help="benign rows: .npy, or .npz with --key"
    )
    parser.add_argument("--key", default="x", help="the array in an .npz file (default: x)")
    parser.add_argument("--input", required=True, help="the model's input that the rows are for")
    parser.add_argument("--output", help="the output that says the class; absent: found by its numbers")
    parser.add_argument("--logits", action="store_true", help="--output holds logits, not probabilities")
    parser.add_argument("--callers", type=int, default=1000, help="benign callers to simulate (default: 1000)")
    parser.add_argument("--rate", type=float, default=0.001, help="benign callers found wrongly (default: 0.001)")
    parser.add_argument("--seed", type=int, default=0, help="of all that is random (default: 0)")
    parser.add_argument("--out", required=True, type=Path, metavar="FILE", help="the profile to write")


def run(arguments: argparse.Namespace) -> int:
    """Runs the command; returns its exit code."""
    if find_spec("tqdm") is None:
        print("tqdm is not installed; tensorwall calibrate needs the extra: pip install 'tensorwall[calibrate]'")
        return 2
    if not 0 < arguments.rate < 0.5:
        print(f"--rate: {arguments.rate} is no share of callers; write one between 0 and 0.5, as 0.001")
        return 2
    if arguments.logits and arguments.output is None:
        print("--logits: of which output is not said; name it with --output")
        return 2
    settings = Detection(output=arguments.output, semantics="logits" if arguments.logits else "probabilities")
    try:
        rows = read(arguments.data, arguments.key)
    except SampleError as error:
        print(error)
        return 2
    try:
        profile = _learned(arguments, rows, settings)
        profile.write(arguments.out)
    except (SampleError, CalibrationError) as error:
        print(error)
        return 1
    except OSError as error:
        print(f"--out: {arguments.out} cannot be written: {error.strerror or error}")
        return 2
    print(_summary(profile, arguments.out))
    return 0


def _learned(arguments: argparse.Namespace, rows: NDArray[Any], settings: Detection) -> Profile:
    rng = np.random.default_rng(arguments.seed)
    salt = secrets.token_bytes(SALT_BYTES)
    model = Model(arguments.target, arguments.model, arguments.input, settings)
    try:
        seen, scaling = observations(rows, model, arguments.input, salt, arguments.callers, rng)
    finally:
        model.close()
    return calibrate(seen, arguments.model, salt, arguments.rate, rng, scaling)


def _summary(profile: Profile, path: Path) -> str:
    lines = [
        f"{path}: profile {profile.digest} of {profile.model}",
        f"learned from {profile.rows:,} rows of {profile.callers:,} callers",
        f"acted on from so many decades of evidence on, for {profile.rate:.2%} of benign callers: "
        + ", ".join(f"{name} {level:.1f}" for name, level in profile.levels.items()),
    ]
    if profile.callers * profile.rate < 1:
        lines.append(f"{profile.callers:,} callers cannot show a rate of {profile.rate:.2%}: it is extrapolated")
    for name, tail in sorted(profile.tails.items()):
        lines.append(f"  {name:36} usual {tail.usual:9.3g}   one in a thousand {tail.value(3):9.3g}")
    return "\n".join(lines)
