"""The server: models, a gRPC port in front of them, and a thread that looks for new versions."""

import logging
import threading
from collections.abc import Mapping
from concurrent import futures
from pathlib import Path
from types import TracebackType
from typing import Self

import grpc

from proxy.embedded.models import Model, Models
from proxy.embedded.service import ModelServer

log = logging.getLogger(__name__)

Labels = Mapping[str, Mapping[str, int]]

# Calls that run at once and that wait for a thread. TensorFlow Serving runs 4 a core and refuses the rest.
RUNNING_CALLS = 32
WAITING_CALLS = 1000  # calls beyond are refused with RESOURCE_EXHAUSTED
_OPTIONS = (
    ("grpc.max_receive_message_length", -1),  # TensorFlow Serving's is INT32_MAX, more than gRPC can send
    ("grpc.max_send_message_length", -1),
    ("grpc.so_reuseport", 0),  # a port that is taken is an error, not a port shared
)


class PortError(Exception):
    """The address cannot be listened on; `str()` is one sentence for the operator."""


class Backend:
    """The embedded model server, serving from `start` (or `with`) until `stop`.

    `models` is name -> base path with version folders, `labels` is model -> label -> version.

    Raises:
        ModelError: a model cannot be loaded.
        PortError: the address cannot be listened on.
    """

    def __init__(
        self,
        models: Mapping[str, Path],
        labels: Labels | None = None,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        poll_seconds: float = 1.0,
    ) -> None:
        self._server = grpc.server(
            futures.ThreadPoolExecutor(RUNNING_CALLS, thread_name_prefix="call"),
            options=_OPTIONS,
            maximum_concurrent_rpcs=RUNNING_CALLS + WAITING_CALLS,
        )
        self._poll_seconds = poll_seconds
        self._stopping = threading.Event()
        self._poller = threading.Thread(target=self._poll, name="versions", daemon=True)
        self.models = Models([Model(name, base, (labels or {}).get(name, {})) for name, base in models.items()])
        self._server.add_generic_rpc_handlers((ModelServer(self.models),))
        self.host = host
        self.port = _listen(self._server, host, port)

    @property
    def address(self) -> str:
        """`host:port`, as a client takes it."""
        return _address(self.host, self.port)

    def start(self) -> None:
        """Serve, in threads of its own."""
        self._server.start()
        self._poller.start()

    def stop(self, grace: float = 0.0) -> None:
        """Refuse new calls, give those in flight `grace` seconds, then cancel them and unload everything."""
        self._stopping.set()
        stopped = self._server.stop(grace)
        stopped.wait()
        for model in self.models:
            model.close()
        if self._poller.is_alive():
            self._poller.join()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def _poll(self) -> None:
        while not self._stopping.wait(self._poll_seconds):
            for model in self.models:
                try:
                    model.refresh()
                except Exception:  # one bad look must not end the looking
                    log.exception("model %s: could not look for new versions", model.name)


def _listen(server: grpc.Server, host: str, port: int) -> int:
    try:
        return int(server.add_insecure_port(_address(host, port)))
    except RuntimeError:
        raise PortError(f"{_address(host, port)} cannot be listened on; is the port taken, or no such host?") from None


def _address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
