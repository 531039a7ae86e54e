"""What a fault left behind, as the proxy's own metrics say it, and callers under load who note how each call ended."""

import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeVar

import grpc

from protos import serving_pb2 as serving
from tests.calls import Metadata
from tests.e2e.model_server import PREDICT
from tests.processes import Proxy, admin_page

T = TypeVar("T")
PATIENCE = 45.0
"""Seconds for what should come at once; a busy machine may need some of them."""
GRACE = 5.0
"""Seconds beyond its deadline in which a call's end must have come to its caller: what a busy machine may add."""
BODY = serving.PredictRequest(model_spec=serving.ModelSpec(name="m")).SerializeToString()


def until(condition: Callable[[], T], what: str, seconds: float = PATIENCE) -> T:
    """Polls until the condition holds; what it gave."""
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, f"not {what} within {seconds} s"
        time.sleep(0.02)
    return found


def figure(proxy: Proxy, name: str, **labels: str) -> float:
    """The sum of a metric's samples that have these labels."""
    wanted = {f'{key}="{value}"' for key, value in labels.items()}
    found = re.findall(rf"^{name}(?:{{(.*)}})? (\S+)$", admin_page(proxy.admin, "/metrics"), re.MULTILINE)
    return sum(float(value) for given, value in found if wanted <= set(re.findall(r'\w+="[^"]*"', given)))


@dataclass(frozen=True)
class State:
    """What a proxy holds.

    Attributes: calls in flight, shared slots, tasks, open files, resident bytes.
    """

    calls: float
    leases: float
    tasks: float
    files: float
    memory: float

    @classmethod
    def of(cls, proxy: Proxy) -> "State":
        """At this moment."""
        return cls(
            figure(proxy, "tensorwall_calls_in_flight"),
            figure(proxy, "tensorwall_store_leases"),
            figure(proxy, "tensorwall_tasks"),
            figure(proxy, "process_open_fds"),
            figure(proxy, "process_resident_memory_bytes"),
        )


SOME_FILES = 8
"""A connection of another test's client, of Redis or of the admin port more or less."""
SOME_TASKS = 8


def settles(proxy: Proxy, before: State, memory: float | None = None) -> None:
    """Asserts that nothing of what happened since is left: no call, slot, task or open file, nor more memory than so
    many bytes."""

    def left() -> str:
        now = State.of(proxy)
        found = {
            "calls": now.calls > 0,
            "leases": now.leases > 0,
            "tasks": now.tasks > before.tasks + SOME_TASKS,
            "files": now.files > before.files + SOME_FILES,
            "memory": memory is not None and now.memory > before.memory + memory,
        }
        return (
            f"{[name for name, more in found.items() if more]} of {now}, before {before}" if any(found.values()) else ""
        )

    end = time.monotonic() + PATIENCE
    while said := left():
        assert time.monotonic() < end, f"left behind: {said}"
        time.sleep(0.1)


class Load:
    """Callers in a closed loop, each with a connection of its own.

    Args:
        addresses: whom they call, in turn.
        callers: how many.
        deadline: of each call.
        options: of their channels.
        body: of each call.
        metadata: of each call.

    Attributes:
        codes: how calls ended.
        slowest: seconds of the longest call.
    """

    def __init__(
        self,
        addresses: Iterable[str],
        callers: int = 8,
        deadline: float = 10.0,
        options: Iterable[tuple[str, str | int]] = (),
        body: bytes = BODY,
        metadata: Metadata = (),
    ) -> None:
        self.codes: Counter[str] = Counter()
        self.slowest = 0.0
        self._deadline = deadline
        self._body = body
        self._metadata = metadata
        self._over = threading.Event()
        mine = [("grpc.use_local_subchannel_pool", 1), *options]
        found = tuple(addresses)
        self._channels = [grpc.insecure_channel(found[at % len(found)], options=mine) for at in range(callers)]
        self._threads = [threading.Thread(target=self._loop, args=(each,), daemon=True) for each in self._channels]
        for thread in self._threads:
            thread.start()

    def _loop(self, channel: grpc.Channel) -> None:
        predict = channel.unary_unary(PREDICT)
        while not self._over.is_set():
            began = time.monotonic()
            try:
                predict(self._body, timeout=self._deadline, metadata=self._metadata)
                code = "OK"
            except grpc.RpcError as error:
                code = f"{error.code().name}: {error.details()}"
                time.sleep(0.01)
            self.codes[code] += 1
            self.slowest = max(self.slowest, time.monotonic() - began)

    def until(self, more: int, code: str = "OK") -> None:
        """Returns once so many further calls have ended so."""

        def count() -> int:
            return sum(number for found, number in self.codes.items() if found.startswith(code))

        enough = count() + more
        until(lambda: count() >= enough, f"{more} calls {code} more than {self.codes}")

    def end(self) -> None:
        """Stops the callers; their last calls are waited for, and none may have outlasted its deadline."""
        self._over.set()
        for thread in self._threads:
            thread.join(self._deadline + GRACE)
            assert not thread.is_alive(), "a call hangs"
        for channel in self._channels:
            channel.close()
        assert self.slowest < self._deadline + GRACE

    def __enter__(self) -> "Load":
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()
