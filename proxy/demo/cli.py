"""`tensorwall demo` from the command line."""

import argparse
import contextlib
import os
import select
import sys
import tempfile
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from proxy.demo.children import ChildError, interruptible
from proxy.demo.data import CHOICES, DataError, Dataset, home_folder, load
from proxy.demo.model import DemoModel, demo_model
from proxy.demo.stage import SceneError, Stage, model_server, stage
from proxy.demo.voice import Voice, quiet

EXIT_FAILED, EXIT_USAGE = 1, 2
NEEDED = ("tensorflow", "tensorflow_serving")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's own arguments."""
    parser.add_argument(
        "--data",
        choices=CHOICES,
        default="auto",
        help="the images; auto takes Fashion-MNIST where it can be had, else digits (default: %(default)s)",
    )
    parser.add_argument(
        "--cache", type=Path, default=_cache(), metavar="DIR", help="keeps the trained model (default: %(default)s)"
    )


def run(arguments: argparse.Namespace) -> int:
    """Tells the story; 0 if all went as told, 1 if not or interrupted, 2 if something is not installed."""
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        print(
            f"tensorwall demo: {' and '.join(missing)} not installed; it needs the extra: "
            "pip install 'tensorwall[demo]'",
            file=sys.stderr,
        )
        return EXIT_USAGE
    try:
        with interruptible():
            return _tell(arguments, Voice(sys.stdout))
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # nobody reads; let the interpreter end quietly
        return EXIT_FAILED
    except (DataError, ChildError, SceneError, OSError) as error:
        print(f"tensorwall demo: {error}", file=sys.stderr)
        return EXIT_FAILED
    except KeyboardInterrupt:
        print("\ntensorwall demo: interrupted; nothing is left running", file=sys.stderr)
        return EXIT_FAILED


def _cache() -> Path:
    """https://specifications.freedesktop.org/basedir-spec: caches go under XDG_CACHE_HOME."""
    return Path(os.environ.get("XDG_CACHE_HOME") or home_folder(os.environ) / ".cache") / "tensorwall" / "demo"


def _tell(arguments: argparse.Namespace, voice: Voice) -> int:
    with _temporary_folder() as folder:
        voice.title("Images")
        dataset = load(arguments.data, voice)
        voice.title("A model")
        model = _model(dataset, arguments.cache, voice, folder)
        voice.title("A model server, and the proxy in front of it")
        with model_server(model, folder) as backend:
            with quiet(folder / "tensorflow.log"):  # the client's import of TensorFlow, while the server does the same
                from proxy.demo import story
            with stage(backend, dataset, model, voice, folder) as ready:
                for title, scene in story.SCENES:
                    voice.title(title)
                    story.play(scene, ready)
                if sys.stdout.isatty():
                    _linger(ready, voice)
                title, scene = story.FINALE
                voice.title(title)
                story.play(scene, ready)
    return 0


@contextlib.contextmanager
def _temporary_folder() -> Iterator[Path]:
    """A folder for all temporary files, of the children and of the code that TensorFlow generates as well."""
    before = tempfile.gettempdir()
    with tempfile.TemporaryDirectory(prefix="tensorwall-demo-") as name:
        tempfile.tempdir = os.environ["TMPDIR"] = name
        try:
            yield Path(name)
        finally:
            tempfile.tempdir = os.environ["TMPDIR"] = before


def _model(dataset: Dataset, cache: Path, voice: Voice, folder: Path) -> DemoModel:
    began = time.monotonic()
    with quiet(folder / "tensorflow.log"):
        model = demo_model(dataset, cache, voice)
    how = "kept from an earlier run" if model.reused else f"trained in {time.monotonic() - began:.1f} s"
    voice(f"{how}; {model.accuracy:.1%} right on test images; {model.versions}")
    return model


def _linger(ready: Stage, voice: Voice) -> None:
    """Leaves both servers running until Enter, Ctrl-C or SIGTERM."""
    voice.title("Your turn")
    voice(
        f"""everything stays up until you press Enter:
  curl http://{ready.admin}/metrics
  grpcurl -plaintext {ready.address} list
or any client of TensorFlow Serving, with {ready.address} as its server and {ready.model.name} as the model;
the model server itself listens on {ready.direct_address}"""
    )
    with contextlib.suppress(KeyboardInterrupt):
        ready.proxy.wait_for(_enter_pressed, float("inf"), "asked to end")


def _enter_pressed() -> bool | None:
    if not sys.stdin.isatty():
        time.sleep(0.5)
        return None
    readable, _, _ = select.select([sys.stdin], [], [], 0.5)
    return bool(readable and sys.stdin.readline()) or None
