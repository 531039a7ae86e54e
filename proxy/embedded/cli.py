"""`tensorwall backend`: the embedded model server from the command line. TensorFlow is imported when it runs."""

import argparse
import logging
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from logging.handlers import MemoryHandler
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from proxy.embedded.server import Backend

GRACE_SECONDS = 10.0
HELD_RECORDS = 1000  # a start that logs more is logged as it goes
EXIT_USAGE = 2
PURPOSE = "(This server is for trying out and tests, not for production.)"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument(
        "--model",
        action="append",
        required=True,
        type=_model,
        metavar="NAME=DIR",
        help="serve the SavedModels under DIR/VERSION/ as NAME; the newest version is served (repeatable)",
    )
    parser.add_argument(
        "--label",
        action="append",
        default=[],
        type=_label,
        metavar="MODEL:LABEL=VERSION",
        help="keep VERSION loaded and serve it under LABEL, too (repeatable)",
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=_port, default=8500, help="port; 0 picks a free one (default: %(default)s)")
    parser.add_argument(
        "--poll",
        type=_seconds,
        default=1.0,
        metavar="SECONDS",
        help="how often to look for new versions (default: %(default)s)",
    )


def run(args: argparse.Namespace) -> int:
    """Serve until SIGTERM or SIGINT; returns the exit code: 0 stopped, 2 usage."""
    stop = threading.Event()
    _stop_on_signals(stop)
    try:
        with _log_held_back():
            backend = _backend(args)
    except _UsageError as error:
        print(f"tensorwall backend: {error}", file=sys.stderr)
        return EXIT_USAGE
    backend.start()
    print(_banner(backend), flush=True)
    stop.wait()
    backend.stop(GRACE_SECONDS)
    return 0


class _UsageError(Exception):
    """One sentence for the operator."""


@contextmanager
def _log_held_back() -> Iterator[None]:
    """Log to standard error from the end of the block on, what came within it first; nothing if the block fails."""
    to_stderr = logging.StreamHandler(sys.stderr)
    to_stderr.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    held = MemoryHandler(HELD_RECORDS, flushLevel=sys.maxsize, target=to_stderr, flushOnClose=False)
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.INFO)
    root.addHandler(held)
    try:
        yield
    except BaseException:
        root.setLevel(level)
        raise
    finally:
        root.removeHandler(held)
    root.addHandler(to_stderr)
    held.flush()


def _backend(args: argparse.Namespace) -> "Backend":
    models = _models(args.model)
    labels = _labels(args.label, models)
    for name, base in models.items():
        if not base.is_dir():
            raise _UsageError(f"model {name}: there is no folder {base}.")
    try:
        from proxy.embedded.models import ModelError
        from proxy.embedded.server import Backend, PortError
    except ImportError as error:
        raise _UsageError(
            f"{error}. The embedded server needs the extra: pip install 'tensorwall[tensorflow]'."
        ) from None
    try:
        return Backend(models, labels, host=args.host, port=args.port, poll_seconds=args.poll)
    except (ModelError, PortError) as error:
        raise _UsageError(f"{error}.") from None


def _models(pairs: list[tuple[str, Path]]) -> dict[str, Path]:
    models: dict[str, Path] = {}
    for name, base in pairs:
        if name in models:
            raise _UsageError(f"--model {name} is given twice; give each model one folder.")
        models[name] = base
    return models


def _labels(triples: list[tuple[str, str, int]], models: dict[str, Path]) -> dict[str, dict[str, int]]:
    labels: dict[str, dict[str, int]] = {}
    for model, label, version in triples:
        if model not in models:
            raise _UsageError(f"--label {model}:{label}: there is no --model {model}.")
        if label in labels.setdefault(model, {}):
            raise _UsageError(f"--label {model}:{label} is given twice; a label names one version.")
        labels[model][label] = version
    return labels


def _banner(backend: "Backend") -> str:
    served = " ".join(f"{model.name} (version {model.newest})" for model in backend.models)
    return f"tensorwall backend: serving {served} on {backend.address} {PURPOSE}"


def _stop_on_signals(stop: threading.Event) -> None:
    """The first SIGTERM or SIGINT stops gracefully, a second one at once."""

    def handle(number: int, frame: Any) -> None:
        del frame
        signal.signal(number, signal.SIG_DFL)
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, handle)


def _model(text: str) -> tuple[str, Path]:
    name, equals, folder = text.partition("=")
    if not (name and equals and folder):
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=DIR, as in mnist=/models/mnist")
    return name, Path(folder).expanduser()


def _label(text: str) -> tuple[str, str, int]:
    target, _, version = text.rpartition("=")
    model, _, label = target.partition(":")
    if not (model and label and version.isascii() and version.isdigit()):
        raise argparse.ArgumentTypeError(f"{text!r} is not MODEL:LABEL=VERSION, as in mnist:stable=3")
    return model, label, int(version)


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) <= 65535):
        raise argparse.ArgumentTypeError(f"{text!r} is not a port from 0 to 65535")
    return int(text)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0.0 < seconds <= 86400.0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds above 0, up to 86400")
    return seconds
