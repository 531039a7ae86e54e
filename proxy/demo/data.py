"""Real images to show things on: Fashion-MNIST where it can be had, else scikit-learn's handwritten digits.

Fashion-MNIST: Xiao, Rasul and Vollgraf, 2017, https://arxiv.org/abs/1708.07747; 28x28 grey images of clothes, 60,000 to
train on and 10,000 to test with. Digits: Alpaydin and Kaynak, 1998, UCI "Optical Recognition of Handwritten Digits";
1,797 of 8x8, inside scikit-learn's wheel.
"""

import contextlib
import os
import tempfile
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from proxy.demo import idx
from proxy.demo.children import Child, ChildError

Choice = Literal["auto", "fashion-mnist", "digits"]
CHOICES = get_args(Choice)

DEBIAN_FOLDER = Path("/usr/share/datasets/fashion-mnist")
"""Where the package dataset-fashion-mnist of Debian and Ubuntu puts the files."""
DOWNLOAD_SECONDS = 300.0
DIGITS_TEST_ROWS = 360
"""A fifth of the 1,797 digits."""

_FASHION_CLASSES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)
_REMEDIES = (
    "install Debian's or Ubuntu's package (apt-get install dataset-fashion-mnist), put the four .gz files of "
    "Fashion-MNIST into ~/.keras/datasets/fashion-mnist, or let Keras reach the internet"
)
# A stalled transfer ends after 10 s; SIGTERM makes Keras remove a half-written file.
_DOWNLOAD = """
import signal, socket
signal.signal(signal.SIGTERM, signal.default_int_handler)
socket.setdefaulttimeout(10)
import keras
keras.datasets.fashion_mnist.load_data()
print(keras.utils.get_file("train-labels-idx1-ubyte.gz", origin="", cache_subdir="datasets/fashion-mnist"))
"""
_SUBFOLDER = Path("datasets/fashion-mnist")

Say = Callable[[str], None]


class DataError(Exception):
    """No usable data; the message says what was looked for, and the remedy."""


@dataclass(frozen=True)
class Dataset:
    """Labelled images.

    Attributes:
        name: `fashion-mnist` or `digits`.
        x_train: images, float32 (N, H, W, 1) in [0, 1].
        y_train: classes, uint8 (N,).
        x_test: as `x_train`, never trained on.
        y_test: as `y_train`.
        class_names: one a class.
        source: where it was found.
    """

    name: str
    x_train: NDArray[np.float32]
    y_train: NDArray[np.uint8]
    x_test: NDArray[np.float32]
    y_test: NDArray[np.uint8]
    class_names: tuple[str, ...]
    source: str


def load(
    choice: Choice = "auto",
    say: Say = lambda _: None,
    debian: Path = DEBIAN_FOLDER,
    environment: Mapping[str, str] = os.environ,
) -> Dataset:
    """Finds images: Debian's folder, the Keras cache, Keras' download, scikit-learn's digits, in that order.

    Args:
        choice: `auto` for that order, or one data set alone.
        say: told in one line what each step found.
        debian: the folder of Debian's package.
        environment: HOME and KERAS_HOME are looked up here.

    Raises:
        DataError: nothing is there.
    """
    if choice != "digits":
        dataset = _fashion_mnist(say, debian, environment)
        if dataset is not None:
            return dataset
        if choice == "fashion-mnist":
            raise DataError(f"Fashion-MNIST was not found; {_REMEDIES}; or take --data digits")
    try:
        return _digits(say)
    except ImportError:
        raise DataError(
            f"no data was found; {_REMEDIES}; or install scikit-learn, whose digits are the last resort "
            "(pip install 'tensorwall[demo]')"
        ) from None


def _fashion_mnist(say: Say, debian: Path, environment: Mapping[str, str]) -> Dataset | None:
    for place, folder in (("Debian's package", debian), ("the Keras cache", _keras_folder(environment))):
        if (dataset := _try(place, folder, say)) is not None:
            return dataset
    say("Keras' download: asking for 30 MB ...")
    try:
        return _try("Keras' download", _download(environment), say)
    except DataError as error:
        say(f"Keras' download: {error}")
        return None


def home_folder(environment: Mapping[str, str]) -> Path:
    """The user's home; / for one who has none, as in a container."""
    try:
        return Path(environment.get("HOME") or Path.home())
    except RuntimeError:
        return Path("/")


def _keras_folder(environment: Mapping[str, str]) -> Path:
    """Where Keras 3 keeps data sets (keras.utils.get_file): under its home, or in /tmp if that cannot be written."""
    base = home_folder(environment)
    home = Path(environment.get("KERAS_HOME") or base / ".keras")
    if not (home / _SUBFOLDER).is_dir() and not os.access(home if home.exists() else base, os.W_OK):
        home = Path("/tmp/.keras")  # noqa: S108  # Keras' own choice
    return home / _SUBFOLDER


def _try(place: str, folder: Path, say: Say) -> Dataset | None:
    if not folder.is_dir():
        say(f"{place}: there is no {folder}")
        return None
    try:
        dataset = read_fashion_mnist(folder)
    except DataError as error:
        say(f"{place}: {error}")
        return None
    say(f"{place}: Fashion-MNIST in {folder}")
    return dataset


def read_fashion_mnist(folder: Path) -> Dataset:
    """Reads the four .gz files under their original names.

    Raises:
        DataError: one is missing, broken, or not of Fashion-MNIST's form.
    """
    try:
        parts = [
            idx.read(folder / f"{part}-{kind}-ubyte.gz", dimensions)
            for part in ("train", "t10k")
            for kind, dimensions in (("images-idx3", 3), ("labels-idx1", 1))
        ]
    except idx.IdxError as error:
        raise DataError(str(error)) from None
    x_train, y_train, x_test, y_test = parts
    for images, labels in ((x_train, y_train), (x_test, y_test)):
        if images.shape != (len(labels), 28, 28) or not len(labels) or labels.max() >= len(_FASHION_CLASSES):
            raise DataError(
                f"{folder}: images of shape {images.shape} with {len(labels)} labels are not Fashion-MNIST; remove them"
            )
    return Dataset(
        "fashion-mnist", _scaled(x_train, 255), y_train, _scaled(x_test, 255), y_test, _FASHION_CLASSES, str(folder)
    )


def _scaled(images: NDArray[np.uint8], white: int) -> NDArray[np.float32]:
    return images[..., np.newaxis].astype(np.float32) / np.float32(white)


def _download(environment: Mapping[str, str]) -> Path:
    """The folder that Keras put the files into: in a process of its own, so that it ends when it should."""
    if find_spec("keras") is None:
        raise DataError("Keras is not installed")
    with (
        tempfile.TemporaryDirectory() as folder,
        Child("Keras' download", ["-c", _DOWNLOAD], Path(folder) / "log", environment) as child,
    ):
        try:
            code = child.wait(DOWNLOAD_SECONDS)
        except ChildError:
            child.terminate()
            with contextlib.suppress(ChildError):
                child.wait(10)
            raise DataError(f"not done within {DOWNLOAD_SECONDS:.0f} s") from None
        last = (child.output().splitlines() or [f"ended with {code}"])[-1]
    if code:
        raise DataError(last[:200])
    return Path(last).parent


def _digits(say: Say) -> Dataset:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # joblib remarks on machines without semaphores, which nothing here uses
        from sklearn.datasets import load_digits

    bunch = load_digits()
    images, labels = bunch.images.astype(np.uint8), bunch.target.astype(np.uint8)
    order = np.random.default_rng(0).permutation(len(labels))
    images, labels = images[order], labels[order]
    say(f"scikit-learn's digits: {len(labels):,} images of 8x8")
    scaled, rest = _scaled(images, 16), DIGITS_TEST_ROWS
    return Dataset(
        "digits",
        scaled[rest:],
        labels[rest:],
        scaled[:rest],
        labels[:rest],
        tuple(str(name) for name in bunch.target_names),
        "scikit-learn",
    )
