"""The demo's child processes: started on a leash, awaited with a deadline, ended in every case."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TypeVar

T = TypeVar("T")

POLL_SECONDS = 0.02
LOG_TAIL_LINES = 15


class ChildError(Exception):
    """A child process that did not do what it was started for; the message ends with what it last said."""


class Child:
    """A Python process of our own, its output in a file.

    It has a process group of its own, so that Ctrl-C on the terminal reaches the demo alone, which then ends its
    children in order. As a context manager it is gone at the end of the block, with whatever it had started.

    Args:
        name: what to call it in messages.
        arguments: given to this interpreter.
        log: the file for its standard output and error.
        environment: its environment variables.
    """

    def __init__(
        self, name: str, arguments: Sequence[str], log: Path, environment: Mapping[str, str] = os.environ
    ) -> None:
        self.name = name
        self.log = log
        leash = [sys.executable, "-P", "-m", "proxy.leash", str(os.getpid()), sys.executable, "-P"]
        with log.open("wb") as output:
            self._process = subprocess.Popen(  # noqa: S603  # our own interpreter and arguments
                [*leash, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=dict(environment),
                process_group=0,
            )

    def __enter__(self) -> "Child":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    def output(self) -> str:
        """Everything it has said so far."""
        return self.log.read_text(errors="replace")

    def wait_for(self, look: Callable[[], T | None], seconds: float, what: str) -> T:
        """Asks `look` again and again until it answers with something.

        Raises:
            ChildError: the process ended first, or `seconds` are over.
        """
        deadline = time.monotonic() + seconds
        while (found := look()) is None:
            if (code := self._process.poll()) is not None:
                raise ChildError(f"{self.name} ended with {code} before it was {what}{self._tail()}")
            if time.monotonic() > deadline:
                raise ChildError(f"{self.name} was not {what} within {seconds:.0f} s{self._tail()}")
            time.sleep(POLL_SECONDS)
        return found

    def terminate(self) -> None:
        """Asks it to end (SIGTERM)."""
        self._process.terminate()

    def wait(self, seconds: float) -> int:
        """Its exit code.

        Raises:
            ChildError: it is still running after `seconds`.
        """
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise ChildError(f"{self.name} had not ended after {seconds:.0f} s{self._tail()}") from None

    def kill(self) -> None:
        """Ends it and its process group now, whatever it is doing."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def _tail(self) -> str:
        lines = self.output().splitlines()[-LOG_TAIL_LINES:]
        return "; it last said:" + "".join(f"\n    {line}" for line in lines) if lines else "; it said nothing"


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Turns SIGTERM and SIGHUP into `KeyboardInterrupt` within the block, so that whatever is open is closed."""

    def interrupt(_number: int, _frame: object) -> None:
        raise KeyboardInterrupt

    names = (signal.SIGTERM, signal.SIGHUP)
    before = [signal.signal(name, interrupt) for name in names]
    try:
        yield
    finally:
        for name, handler in zip(names, before, strict=True):
            signal.signal(name, handler)


def proxy_addresses(proxy: Child) -> tuple[str, str] | None:
    """Of its gRPC and admin ports (host:port), as the JSON log of a `serve` names them; None until it does."""
    for line in proxy.output().splitlines():
        with contextlib.suppress(json.JSONDecodeError):
            event = json.loads(line)
            if event.get("message") == "listening":
                return event["grpc"], event["admin"]
    return None
