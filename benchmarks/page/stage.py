"""A deployment in small: a model server, a proxy with an operator, and callers who ask until they are told to stop."""

import contextlib
import json
import random
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import numpy as np
from numpy.typing import NDArray

from protos import serving_pb2 as serving
from protos import tensor_pb2 as tensor
from proxy.admin.operators import token_hash
from proxy.tensors import set_array
from tests.calls import open_channel
from tests.e2e.model_server import PREDICT, Behaviour, ModelServer
from tests.processes import TOKEN, Proxy, serving_proxy

OPERATOR = {"name": "ada", "role": "operator", "sha256": token_hash(TOKEN)}

Rows = NDArray[np.float32]


def request(name: str, rows: Rows, column: str) -> bytes:
    """A Predict request."""
    made = serving.PredictRequest()
    made.model_spec.name = name
    made.inputs[column].dtype = tensor.DT_FLOAT
    set_array(made.inputs[column], rows)
    return made.SerializeToString()


@dataclass(frozen=True)
class Stage:
    """What runs.

    Attributes:
        proxy: as its operators meet it.
        channel: as its callers do.
    """

    proxy: Proxy
    channel: grpc.Channel


@contextlib.contextmanager
def stage(folder: Path, behaviour: Behaviour, models: dict[str, Any]) -> Iterator[Stage]:
    """Starts model server and proxy; all of it ends with the block."""
    identity = {"order": ["forwarded_for"]}
    with (
        ModelServer(behaviour) as server,
        serving_proxy(
            folder,
            server.address,
            models=models,
            identity=identity,
            admin={"operators": [OPERATOR]},
        ) as proxy,
        open_channel(proxy.address) as channel,
    ):
        yield Stage(proxy, channel)


class Play:
    """Callers of one input, each in a thread of its own."""

    def __init__(self, on: Stage, column: str) -> None:
        self._channel = on.channel
        self._column = column
        self._over = threading.Event()
        self._threads: list[threading.Thread] = []

    def benign(self, name: str, caller: str, draw: Callable[[random.Random], Rows], pause: float, seed: int) -> None:
        """A caller who asks about rows that it draws, about every `pause` seconds."""
        dice = random.Random(seed)

        def act() -> None:
            while not self._over.wait(dice.expovariate(1 / pause)):
                self._ask(name, draw(dice), caller)

        self._start(act)

    def attack(self, name: str, callers: Sequence[str], asked: Sequence[Rows], pause: float, after: float) -> None:
        """Callers who take turns in asking about these rows; they go on, whatever is refused."""

        def act() -> None:
            if self._over.wait(after):
                return
            for at, rows in enumerate(asked):
                self._ask(name, rows, callers[at % len(callers)])
                if self._over.wait(pause):
                    return

        self._start(act)

    def stop(self) -> None:
        """Ends all of them."""
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _ask(self, name: str, rows: Rows, caller: str) -> None:
        metadata = (("x-forwarded-for", caller),)
        with contextlib.suppress(grpc.RpcError):
            self._channel.unary_unary(PREDICT)(request(name, rows, self._column), timeout=10, metadata=metadata)

    def _start(self, act: Callable[[], None]) -> None:
        thread = threading.Thread(target=act, daemon=True)
        self._threads.append(thread)
        thread.start()


def report(name: str, figures: dict[str, Any]) -> None:
    """Writes build/NAME.json."""
    Path("build").mkdir(exist_ok=True)
    Path(f"build/{name}.json").write_text(json.dumps(figures, indent=2))
