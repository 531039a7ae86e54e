"""`tensorwall backend` in a process of its own, and the stock client of tensorflow-serving-api in front of it.

Its own process, since which kernels run, and so their texts, is settled by whoever imports TensorFlow first.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import grpc
import pytest

from tests.processes import Backend, serving_backend
from tests.savedmodels import write_half_plus_two, write_sleeper, write_toy


@pytest.fixture(scope="session")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of models that nobody changes: toy (1, 2), half_plus_two and sleeper."""
    folder = tmp_path_factory.mktemp("saved")
    write_toy(folder / "toy")
    write_half_plus_two(folder / "half_plus_two")
    write_sleeper(folder / "sleeper")
    return folder


class Client(NamedTuple):
    """Stubs of the stock client, and the channel under them."""

    channel: grpc.Channel
    prediction: Any
    model: Any


def connect(address: str) -> Client:
    from tensorflow_serving.apis import model_service_pb2_grpc, prediction_service_pb2_grpc

    limits = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
    channel = grpc.insecure_channel(address, options=limits)
    prediction = prediction_service_pb2_grpc.PredictionServiceStub(channel)
    return Client(channel, prediction, model_service_pb2_grpc.ModelServiceStub(channel))


@pytest.fixture(scope="session")
def backend(saved: Path) -> Iterator[Backend]:
    models = {name: saved / name for name in ("toy", "half_plus_two", "sleeper")}
    with serving_backend(models, "--label", "toy:stable=1") as running:
        yield running


@pytest.fixture(scope="session")
def client(backend: Backend) -> Iterator[Client]:
    connected = connect(backend.address)
    yield connected
    connected.channel.close()
