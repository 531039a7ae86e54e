"""`tensorwall calibrate`: learns a model's benign profile and writes it to one file."""

import argparse
import secrets
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from detectors.calibration import MIN_CALLERS, CalibrationError, calibrate
from detectors.observation import NO_CLASS
from detectors.profile import Profile
from proxy.admin import client
from proxy.admin.client import AdminClient, ClientError
from proxy.calibrate.asked import DataError, Model, SampleError
from proxy.calibrate.listen import listened
from proxy.calibrate.sample import read, simulated
from proxy.calibrate.traffic import Traffic, TrafficError
from proxy.capture.live import MAX_SECONDS
from proxy.config.detection import Detection

SALT_BYTES = 32
CALLERS = 2000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command line."""
    parser.add_argument("--model", required=True, help="the served model's name")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument(
        "--data", type=Path, metavar="FILE", help="benign rows, numbers or texts: .npy, or .npz with --key"
    )
    source.add_argument(
        "--capture", nargs="+", metavar="PATH", help="captured files, folders of them, or URLs of either"
    )
    source.add_argument("--live", metavar="HOST:PORT", help="the admin port of a running proxy whose traffic is benign")
    parser.add_argument("--target", metavar="HOST:PORT", help="with --data: the model server (or a proxy), to be asked")
    parser.add_argument("--key", help="with --data: the array in an .npz file (default: x)")
    parser.add_argument(
        "--input", help="the model's input that is looked at (default: with --data its only one, with --capture all)"
    )
    parser.add_argument("--output", help="the output that says the class; absent: found by its numbers")
    parser.add_argument("--logits", action="store_true", help="--output holds logits, not probabilities")
    parser.add_argument(
        "--callers", type=int, help="with --data: benign callers to simulate, a thousand an hour (default: 2000)"
    )
    parser.add_argument("--seconds", type=float, help="with --live: how long to listen")
    parser.add_argument("--rate", type=float, default=0.001, help="benign callers found wrongly (default: 0.001)")
    parser.add_argument("--seed", type=int, default=0, help="of all that is random (default: 0)")
    client.add_access_arguments(parser)
    parser.add_argument("--out", required=True, type=Path, metavar="FILE", help="the profile to write")


def run(arguments: argparse.Namespace) -> int:
    """Runs the command; returns its exit code."""
    mistake = _mistake(arguments)
    if mistake is not None:
        return _told(mistake, 2)
    try:
        profile = _learned(arguments)
        profile.write(arguments.out)
    except DataError as error:
        return _told(error, 2)
    except (SampleError, TrafficError, CalibrationError) as error:
        return _told(error, 1)
    except OSError as error:
        return _told(f"--out: {arguments.out} cannot be written: {error.strerror or error}", 2)
    print(_summary(profile, arguments.out))
    return 0


def _told(error: object, code: int) -> int:
    print(f"tensorwall calibrate: {error}", file=sys.stderr)
    return code


_NEEDED = {"data": ("target",), "capture": (), "live": ("seconds",)}
_USELESS = {
    "data": ("seconds",),
    "capture": ("target", "key", "callers", "seconds"),
    "live": ("target", "key", "input", "output", "logits", "callers"),
}


def _mistake(arguments: argparse.Namespace) -> str | None:
    """What is wrong with the command line."""
    extra = "capture" if arguments.capture else "calibrate"
    needed = ("tqdm", "google_crc32c") if arguments.capture else ("tqdm",)
    if any(find_spec(name) is None for name in needed):
        return f"it needs the extra {extra}: pip install 'tensorwall[{extra}]'"
    source = next(name for name in _NEEDED if getattr(arguments, name) is not None)
    for name in _NEEDED[source]:
        if getattr(arguments, name) is None:
            return f"--{name}: --{source} needs it"
    for name in _USELESS[source]:
        if getattr(arguments, name) not in (None, False):
            said = " (the proxy's configuration says it)" if name in ("input", "output", "logits") else ""
            return f"--{name}: means nothing with --{source}{said}; leave it out"
    if arguments.logits and arguments.output is None:
        return "--logits: of which output is not said; name it with --output"
    if not arguments.out.parent.is_dir() or arguments.out.is_dir():
        there = "is a folder" if arguments.out.is_dir() else "its folder is not there"
        return f"--out: {arguments.out} cannot be written: {there}"
    return _out_of_range(arguments)


def _out_of_range(arguments: argparse.Namespace) -> str | None:
    if not 0 < arguments.rate < 0.5:
        return f"--rate: {arguments.rate} is no share of callers; write one between 0 and 0.5, as 0.001"
    if arguments.seed < 0:
        return f"--seed: {arguments.seed} is below 0"
    if arguments.callers is not None and arguments.callers < MIN_CALLERS:
        return f"--callers: {arguments.callers} are too few to say what is usual; {MIN_CALLERS} are the least"
    if arguments.live is not None and not 0 < arguments.seconds <= MAX_SECONDS:
        return f"--seconds: {arguments.seconds:g} is no time to listen; write one above 0, up to {MAX_SECONDS}"
    return None


def _learned(arguments: argparse.Namespace) -> Profile:
    rng = np.random.default_rng(arguments.seed)
    salt = secrets.token_bytes(SALT_BYTES)
    traffic = _traffic(arguments, salt, rng)
    for note in (*traffic.notes, *_unread(traffic, arguments.output)):
        print(note)
    return calibrate(traffic.observations, arguments.model, salt, arguments.rate, rng, traffic.scaling)


def _unread(traffic: Traffic, output: str | None) -> Iterator[str]:
    """Says so if no row's answer has a class.

    Raises:
        TrafficError: though an output was named for it.
    """
    if not any((each.answers.classes != NO_CLASS).any() for each in traffic.observations):
        if output is not None and traffic.observations:
            raise TrafficError(f"--output: no row of {output} can be read as scores of classes; name another")
        yield (
            "no answer says a class: what reads classes, margins and entropies will find nothing "
            "(if an output holds logits, name it with --output and --logits)"
        )


def _traffic(arguments: argparse.Namespace, salt: bytes, rng: np.random.Generator) -> Traffic:
    if arguments.live is not None:
        try:
            return listened(AdminClient(arguments.live, arguments), arguments.model, arguments.seconds, salt)
        except ClientError as error:
            raise TrafficError(f"--live: {error}") from None
    settings = Detection(
        inputs=() if arguments.data or arguments.input is None else (arguments.input,),
        output=arguments.output,
        semantics="logits" if arguments.logits else "probabilities",
    )
    if arguments.capture is not None:
        from proxy.calibrate.recorded import recorded  # needs another extra

        return recorded(arguments.capture, arguments.model, settings, salt)
    rows = read(arguments.data, arguments.key or "x")
    model = Model(arguments.target, arguments.model, arguments.input, settings)
    callers = CALLERS if arguments.callers is None else arguments.callers
    try:
        return simulated(rows, model, salt, callers, rng)
    finally:
        model.close()


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
