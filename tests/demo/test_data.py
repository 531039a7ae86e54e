"""Where the demo's images come from: the order, what each step says, and what it says when nothing is there."""

import gzip
import os
import socket
import ssl
import struct
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from proxy.demo import data
from tests.certificates import Authority

FILES = ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1")


def write(folder: Path, rows: int, side: int = 28, classes: int = 10) -> Path:
    """Files of Fashion-MNIST's form with `rows` training and as many test images; every pixel is the row's number."""
    folder.mkdir(parents=True)
    images: NDArray[np.uint8] = np.arange(rows, dtype=np.uint8).repeat(side * side)
    labels = np.arange(rows, dtype=np.uint8) % classes
    for name in FILES:
        is_images = "images" in name
        header = (0x803, rows, side, side) if is_images else (0x801, rows)
        content = struct.pack(f">{len(header)}I", *header) + (images if is_images else labels).tobytes()
        (folder / f"{name}-ubyte.gz").write_bytes(gzip.compress(content, 1))
    return folder


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """A fake home, and a proxy that refuses connections, so that nothing is downloaded by accident."""
    (tmp_path / "home").mkdir()
    kept = {name: value for name, value in os.environ.items() if name not in ("KERAS_HOME", "no_proxy", "NO_PROXY")}
    return {**kept, "HOME": str(tmp_path / "home"), "https_proxy": "http://127.0.0.1:1"}


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A download has no time at all."""
    monkeypatch.setattr(data, "DOWNLOAD_SECONDS", 0.0)


def found(environment: Mapping[str, str], debian: Path, choice: data.Choice = "auto") -> tuple[data.Dataset, list[str]]:
    said: list[str] = []
    return data.load(choice, said.append, debian, environment), said


def test_debians_package_comes_before_the_keras_cache(tmp_path: Path, environment: dict[str, str]) -> None:
    debian = write(tmp_path / "debian", rows=3)
    write(tmp_path / "home/.keras/datasets/fashion-mnist", rows=5)
    dataset, said = found(environment, debian)
    assert said == [f"Debian's package: Fashion-MNIST in {debian}"]
    assert (dataset.name, dataset.source, len(dataset.class_names)) == ("fashion-mnist", str(debian), 10)
    assert dataset.x_train.shape == dataset.x_test.shape == (3, 28, 28, 1)
    assert dataset.x_train.dtype == np.float32
    np.testing.assert_array_equal(dataset.x_train[:, 0, 0, 0], np.arange(3, dtype=np.float32) / np.float32(255))
    np.testing.assert_array_equal(dataset.y_test, [0, 1, 2])


def test_the_keras_cache_is_next_and_keras_home_names_it(tmp_path: Path, environment: dict[str, str]) -> None:
    in_home = write(tmp_path / "home/.keras/datasets/fashion-mnist", rows=4)
    none = tmp_path / "none"
    dataset, said = found(environment, none)
    assert (len(dataset.y_train), dataset.source) == (4, str(in_home))
    assert said == [
        f"Debian's package: there is no {none}",
        f"the Keras cache: Fashion-MNIST in {in_home}",
    ]
    elsewhere = write(tmp_path / "keras/datasets/fashion-mnist", rows=6)
    dataset, _ = found({**environment, "KERAS_HOME": str(tmp_path / "keras")}, none)
    assert (len(dataset.y_train), dataset.source) == (6, str(elsewhere))


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (lambda folder: (folder / "t10k-labels-idx1-ubyte.gz").unlink(), "t10k-labels-idx1-ubyte.gz: No such file"),
        (lambda folder: (folder / "train-images-idx3-ubyte.gz").write_bytes(b"<html>"), "Not a gzipped file"),
        (
            lambda folder: (folder / "train-labels-idx1-ubyte.gz").write_bytes(
                gzip.compress(struct.pack(">2I", 0x801, 2) + bytes(2))
            ),
            "images of shape (3, 28, 28) with 2 labels are not Fashion-MNIST",
        ),
    ],
)
def test_broken_files_are_named_and_the_next_place_is_tried(
    tmp_path: Path, environment: dict[str, str], break_it: Callable[[Path], object], message: str
) -> None:
    debian = write(tmp_path / "debian", rows=3)
    write(tmp_path / "home/.keras/datasets/fashion-mnist", rows=5)
    break_it(debian)
    dataset, said = found(environment, debian)
    assert len(dataset.y_train) == 5
    assert message in said[0]


def test_another_data_set_in_the_same_form_is_refused(tmp_path: Path, environment: dict[str, str]) -> None:
    for folder in (write(tmp_path / "small", rows=3, side=8), write(tmp_path / "letters", rows=20, classes=20)):
        with pytest.raises(data.DataError, match="are not Fashion-MNIST; remove them"):
            data.read_fashion_mnist(folder)


def test_a_refused_download_ends_at_the_digits(tmp_path: Path, environment: dict[str, str]) -> None:
    dataset, said = found(environment, tmp_path / "none")
    assert dataset.name == "digits"
    assert [line.split(":")[0] for line in said] == [
        "Debian's package",
        "the Keras cache",
        "Keras' download",
        "Keras' download",
        "scikit-learn's digits",
    ]
    assert "Connection refused" in said[3]


def test_a_download_that_takes_too_long_is_given_up(
    tmp_path: Path, environment: dict[str, str], impatient: None
) -> None:
    with pytest.raises(data.DataError, match=r"not found; install .*dataset-fashion-mnist.*or take --data digits"):
        found(environment, tmp_path / "none", "fashion-mnist")


def test_nothing_at_all_names_the_remedies(
    tmp_path: Path, environment: dict[str, str], impatient: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(data.DataError, match=r"no data was found; install .*scikit-learn.*tensorwall\[demo\]"):
        found(environment, tmp_path / "none")


def test_digits_need_no_search_and_come_in_one_order(tmp_path: Path, environment: dict[str, str]) -> None:
    debian = write(tmp_path / "debian", rows=3)
    dataset, said = found(environment, debian, "digits")
    assert said == ["scikit-learn's digits: 1,797 images of 8x8"]
    assert dataset.x_train.shape == (1437, 8, 8, 1)
    assert dataset.x_test.shape == (360, 8, 8, 1)
    assert dataset.x_train.min() == 0.0
    assert dataset.x_train.max() == 1.0
    assert set(dataset.y_test.tolist()) == set(range(10))
    np.testing.assert_array_equal(dataset.y_test, found(environment, debian, "digits")[0].y_test)


def test_the_real_fashion_mnist() -> None:
    if not data.DEBIAN_FOLDER.is_dir() and not os.environ.get("CI"):
        pytest.skip("Debian's dataset-fashion-mnist is not installed")
    dataset = data.read_fashion_mnist(data.DEBIAN_FOLDER)
    assert dataset.x_train.shape == (60000, 28, 28, 1)
    assert dataset.x_test.shape == (10000, 28, 28, 1)
    assert np.bincount(dataset.y_test).tolist() == [1000] * 10


@pytest.fixture
def internet(tmp_path: Path) -> Iterator[dict[str, str]]:
    """A web proxy on loopback that answers for every host itself, with files of Fashion-MNIST's form."""
    files = write(tmp_path / "web", rows=7)
    authority = Authority()
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server.load_cert_chain(*authority.server("storage.googleapis.com").write(tmp_path, "web"))
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with suppress(OSError):
            while True:
                connection, _ = listener.accept()
                with suppress(OSError, ssl.SSLError), connection:
                    answer(connection)

    def answer(connection: socket.socket) -> None:
        connection.recv(65536)  # CONNECT
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        with server.wrap_socket(connection, server_side=True) as secure:
            name = secure.recv(65536).split()[1].decode().rsplit("/", 1)[-1]
            content = (files / name).read_bytes()
            secure.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(content) + content)

    threading.Thread(target=serve, daemon=True).start()
    yield {
        "https_proxy": f"http://127.0.0.1:{listener.getsockname()[1]}",
        "SSL_CERT_FILE": str(authority.write(tmp_path)),
    }
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()


def test_keras_download_fills_its_cache(tmp_path: Path, environment: dict[str, str], internet: dict[str, str]) -> None:
    dataset, said = found({**environment, **internet}, tmp_path / "none")
    assert said[2:] == [
        "Keras' download: asking for 30 MB ...",
        f"Keras' download: Fashion-MNIST in {tmp_path}/home/.keras/datasets/fashion-mnist",
    ]
    assert len(dataset.y_train) == 7
    assert found(environment, tmp_path / "none")[1][-1].startswith("the Keras cache: Fashion-MNIST in")
