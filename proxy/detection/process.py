"""The detectors in a process of their own, so that they take nothing of the interpreter that answers calls.

The proxy asks one thing at a time: the name of a method of `Engines` and its arguments, pickled, on the process's
standard input. The answer is whether it went well, and the value or else what went wrong. The process ends as soon as
its input does: that is, with the proxy, however that ends, and even if a detector is at work. It is this side's own
child on pipes that nobody else has, so that what is unpickled is as trusted as the code.

If it ends by itself (out of memory, a crash in somebody's own detector), it is started again after a while, and knows
nothing of what it had seen.
"""

import asyncio
import logging
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue
from typing import Any, BinaryIO

from proxy.detection.engines import Engines
from proxy.logs import event

log = logging.getLogger("tensorwall.detection")

SOONEST, LATEST = 0.5, 60.0
"""Seconds until it is started again: twice as many each time that it ended within LATEST of its start."""


class EndedError(Exception):
    """There is no process, or it ended before it answered."""


class FailedError(Exception):
    """What was asked raised; `str()` is the traceback."""


class DetectorProcess:
    """The proxy's side. For one event loop.

    Args:
        ended: told that it ended by itself.
        monotonic: seconds.
    """

    def __init__(self, ended: Callable[[], None], monotonic: Callable[[], float] = time.monotonic) -> None:
        self._ended = ended
        self._monotonic = monotonic
        self._thread = ThreadPoolExecutor(1, "tensorwall-detectors")
        self._child: subprocess.Popen[bytes] | None = None
        self._began = self._due = 0.0
        self._wait = SOONEST / 2
        self._problem = ""

    @property
    def running(self) -> bool:
        """Whether there is one. If it has just ended by itself, that is said once."""
        if self._child is not None and self._child.poll() is not None:
            self._fell(f"exit code {self._child.returncode} {self._problem}".rstrip())
        return self._child is not None

    async def start(self) -> bool:
        """Starts it, unless it is too early for that; False if it does not run."""
        if self._monotonic() >= self._due:
            self._began, self._problem = self._monotonic(), ""
            try:
                self._child = await asyncio.get_running_loop().run_in_executor(self._thread, _start)
            except OSError as error:
                self._fell(str(error))
        return self._child is not None

    async def ask(self, method: str, *arguments: Any) -> Any:
        """What a method of `Engines` returns.

        Raises:
            EndedError: there is no process, or it ended meanwhile.
            FailedError: the method raised.
        """
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._ask, method, arguments)

    def end(self) -> None:
        """Ends the process, if there is one; another can be started."""
        child, self._child = self._child, None
        if child is not None:
            _end(child)

    def close(self) -> None:
        """Ends everything."""
        self.end()
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _ask(self, method: str, arguments: tuple[Any, ...]) -> Any:
        child = self._child
        if child is None:
            raise EndedError
        assert child.stdin is not None, "it is a pipe"
        assert child.stdout is not None, "it is a pipe"
        try:
            pickle.dump((method, arguments), child.stdin, pickle.HIGHEST_PROTOCOL)
            child.stdin.flush()
            good, value = pickle.load(child.stdout)  # noqa: S301  # our own child
        except Exception as error:  # whatever it was, the two sides are out of step now
            self._problem = repr(error)
            _end(child)
            raise EndedError from error
        if not good:
            raise FailedError(value)
        return value

    def _fell(self, problem: str) -> None:
        now = self._monotonic()
        self._wait = SOONEST if now - self._began > LATEST else min(LATEST, 2 * self._wait)
        self._child, self._due = None, now + self._wait
        event(log, logging.ERROR, "the detectors' process ended", problem=problem, again_in_seconds=self._wait)
        self._ended()


def _start() -> subprocess.Popen[bytes]:
    paths = os.pathsep.join(os.path.abspath(path) for path in sys.path)  # noqa: PTH100  # of own detectors as well
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "proxy.detection"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": paths},
    )


def _end(child: subprocess.Popen[bytes]) -> None:
    child.kill()
    child.wait()


def main() -> None:
    """The process's side: answers until its input ends."""
    for name in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):  # they are the proxy's business
        signal.signal(name, signal.SIG_IGN)
    requests, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)  # a detector may print
    asked: SimpleQueue[tuple[str, tuple[Any, ...]]] = SimpleQueue()
    threading.Thread(target=_read, args=(requests, asked.put), daemon=True).start()
    engines = Engines()
    while True:
        method, arguments = asked.get()
        answers.write(_answer(engines, method, arguments))
        answers.flush()


def _read(requests: BinaryIO, put: Callable[[Any], None]) -> None:
    try:
        while True:
            put(pickle.load(requests))  # noqa: S301  # from our own parent
    except EOFError:
        pass
    except Exception:
        traceback.print_exc()
    finally:
        os._exit(0)


def _answer(engines: Engines, method: str, arguments: tuple[Any, ...]) -> bytes:
    try:
        return pickle.dumps((True, getattr(engines, method)(*arguments)), pickle.HIGHEST_PROTOCOL)
    except Exception:
        return pickle.dumps((False, traceback.format_exc(limit=-3)))
