"""`tensorwall quarantine`: captured rows for a reviewer, and with the reviewer's labels for a retraining job."""

import argparse
import shlex
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command line."""
    parser.add_argument("--capture", required=True, nargs="+", metavar="PATH", help="captured files, folders, or URLs")
    parser.add_argument("--model", required=True, help="whose calls to take")
    parser.add_argument("--input", help="name of the input; default: the only one")
    parser.add_argument("--rows-per-caller", type=_positive, default=100, metavar="N", help="default: %(default)s")
    parser.add_argument("--seed", type=int, default=0, help="of the sample; keep it from callers")
    reviewed = parser.add_mutually_exclusive_group()
    reviewed.add_argument(
        "--labels", type=Path, metavar="CSV", help="a reviewer's: sha256,label; only these rows are kept"
    )
    reviewed.add_argument(
        "--reviewer",
        type=_words,
        metavar="COMMAND",
        help="prints such a CSV; run with the path of an .npz file of the rows as its last argument",
    )
    parser.add_argument("--out", required=True, type=Path, metavar="FILE", help="the .npz file to write")


def _positive(text: str) -> int:
    value = int(text)
    if value <= 0:
        raise argparse.ArgumentTypeError(f"{text} is not at least 1")
    return value


def _words(text: str) -> list[str]:
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no command: {error}") from None
    if not words:
        raise argparse.ArgumentTypeError("it is empty; name a command")
    return words


def run(arguments: argparse.Namespace) -> int:
    """Runs the command; returns its exit code."""
    if find_spec("google_crc32c") is None:
        print("quarantine needs the extra capture: pip install 'tensorwall[capture]'", file=sys.stderr)
        return 2
    from proxy.capture.source import Source, SourceError
    from proxy.quarantine.sample import LabelsError, Quarantine, labelled, labels, reviewed

    try:
        by_digest = None if arguments.labels is None else labels(arguments.labels)
        source = Source(arguments.capture)
    except (LabelsError, SourceError) as error:
        print(error, file=sys.stderr)
        return 2
    held = Quarantine(arguments.model, arguments.input, arguments.rows_per_caller, arguments.seed)
    held.fill(source)
    arrays = held.arrays()
    if arguments.reviewer is not None and len(arrays["x"]):
        try:
            by_digest = reviewed(arguments.reviewer, arrays)
        except LabelsError as error:
            print(f"--reviewer: {error}", file=sys.stderr)
            return 1
    if by_digest is not None:
        arrays = labelled(arrays, by_digest)
    for problem in source.problems:
        print(problem, file=sys.stderr)
    left_out = "".join(f", {count:,} {reason}" for reason, count in sorted(held.left_out.items()))
    rows = len(arrays["x"])
    print(f"{rows:,} rows of {len(set(arrays['caller'])):,} callers{'; left out:' + left_out[1:] if left_out else ''}")
    if not rows:
        print(f"there is nothing to keep of the model {arguments.model!r}", file=sys.stderr)
        return 1
    try:
        partial = arguments.out.with_name(f".{arguments.out.name}.unfinished.npz")
        np.savez_compressed(partial, **arrays)  # type: ignore[arg-type]  # its stub takes names for its own arguments
        partial.chmod(0o600)  # raw inputs
        partial.replace(arguments.out)
    except OSError as error:
        print(f"--out: {arguments.out} cannot be written: {error.strerror or error}", file=sys.stderr)
        return 2
    return 0
