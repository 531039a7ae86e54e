"""The detectors in a process of their own, so that they take nothing of the interpreter that answers calls.

The proxy asks by the name of a method of `Engines` and its arguments, pickled, over a socket pair. Answers come in the
order of what was asked: whether it went well, and the value or else what went wrong. No thread of the proxy has a part
in it, and its event loop never waits. The process ends as soon as the proxy's end of the socket closes: that is, with
the proxy, however that ends, and even if a detector is at work. It is the proxy's own child on a socket that nobody
else has, so that what is unpickled is as trusted as the code.

If it ends by itself (out of memory, a crash in somebody's own detector), it is started again after a while, and knows
nothing of what it had seen. One that does not answer, or stays stopped, is ended.
"""

import asyncio
import contextlib
import logging
import os
import pickle
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable
from pathlib import Path
from queue import SimpleQueue
from typing import Any, BinaryIO

from proxy.detection.engines import Engines
from proxy.leash import hold
from proxy.logs import event

log = logging.getLogger("tensorwall.detection")

SOONEST, LATEST = 0.5, 60.0
"""Seconds until it is started again: twice as many each time that it ended within LATEST of its start."""
ANSWER_SECONDS = 120.0
"""In which it answers, or it hangs. What it is asked at once is bounded, and takes parts of a second; on a machine
without a processor to spare, its start alone may take half a minute."""
STOPPED_SECONDS = 5.0
"""Between two looks at whether it is stopped (SIGSTOP); if it is at both, it is ended."""
NICENESS = 5
"""Where processors are scarce, calls are answered first (nice(2))."""
SOONER = 500
"""Where memory runs out, this process goes before the proxy does (proc(5), oom_score_adj)."""
_LIMIT = 2**20
"""Bytes of an answer that are read ahead."""
_SIZE = 8


class EndedError(Exception):
    """There is no process, or it ended before it answered."""


class FailedError(Exception):
    """What was asked raised; `str()` is the traceback."""


class _Link:
    """One child and the proxy's end of its socket."""

    def __init__(self, child: subprocess.Popen[bytes], reader: asyncio.StreamReader, writer: asyncio.StreamWriter):
        self.child = child
        self.asked: deque[asyncio.Future[bytes]] = deque()
        self._reader = reader
        self._writer = writer

    @classmethod
    async def open(cls) -> "_Link":
        """Starts a child.

        Raises:
            OSError: it cannot be started.
        """
        here, there = socket.socketpair()
        with there:
            try:
                child = _start(there.fileno())
            except OSError:
                here.close()
                raise
        return cls(child, *await asyncio.open_connection(sock=here, limit=_LIMIT))

    @property
    def stopped(self) -> bool:
        """Whether the child is stopped by a signal."""
        with contextlib.suppress(ChildProcessError):  # it has ended
            return os.waitid(os.P_PID, self.child.pid, os.WSTOPPED | os.WNOHANG | os.WNOWAIT) is not None
        return False

    async def ask(self, question: bytes) -> bytes:
        """The answer.

        Raises:
            EndedError: it ended before.
        """
        if self._writer.is_closing():
            raise EndedError
        answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self.asked.append(answer)
        self._writer.write(question)
        return await answer

    async def read(self) -> None:
        """Gives answers to who asked, until there are no more."""
        with contextlib.suppress(OSError, EOFError):
            while True:
                size = int.from_bytes(await self._reader.readexactly(_SIZE), "little")
                answer = await self._reader.readexactly(size)
                asked = self.asked.popleft()
                if not asked.done():
                    asked.set_result(answer)

    def end(self) -> None:
        """Kills the child; nobody gets an answer any more."""
        self.child.kill()
        self._writer.close()
        for each in self.asked:
            if not each.done():
                each.set_exception(EndedError())
        self.asked.clear()


class DetectorProcess:
    """The proxy's side. For one event loop.

    Args:
        ended: told that it ended by itself.
        monotonic: seconds.
    """

    def __init__(self, ended: Callable[[], None], monotonic: Callable[[], float] = time.monotonic) -> None:
        self._ended = ended
        self._monotonic = monotonic
        self._link: _Link | None = None
        self._following: list[asyncio.Task[None]] = []
        self._began = self._due = 0.0
        self._wait = SOONEST / 2
        self._problem = ""

    @property
    def running(self) -> bool:
        """Whether there is one."""
        return self._link is not None

    @property
    def pid(self) -> int | None:
        """Its process id, if there is one."""
        return None if self._link is None else self._link.child.pid

    @property
    def due(self) -> bool:
        """Whether it may be started (again) by now."""
        return self._monotonic() >= self._due

    async def start(self) -> bool:
        """Starts it, unless it is too early for that; False if it does not run."""
        if self._link is None and self.due:
            self._began, self._problem = self._monotonic(), ""
            try:
                self._link = link = await _Link.open()
            except OSError as error:
                self._fell(str(error))
            else:
                loop = asyncio.get_running_loop()
                self._following = [loop.create_task(each(link)) for each in (self._read, self._watch)]
        return self.running

    async def ask(self, method: str, *arguments: Any) -> Any:
        """What a method of `Engines` returns. Arguments are pickled on the event loop: keep them small.

        Raises:
            EndedError: there is no process, or it ended meanwhile.
            FailedError: the method raised, or what it takes or returns cannot be pickled.
        """
        link = self._link
        if link is None:
            raise EndedError
        try:
            question = pickle.dumps((method, arguments), pickle.HIGHEST_PROTOCOL)
        except Exception as error:
            raise FailedError(repr(error)) from error
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                answer = await link.ask(question)
        except TimeoutError:
            self._problem = f"no answer to {method} within {ANSWER_SECONDS:g} s"
            link.child.kill()
            raise EndedError from None
        try:
            good, value = pickle.loads(answer)  # noqa: S301  # our own child
        except Exception as error:
            raise FailedError(repr(error)) from error
        if not good:
            raise FailedError(value)
        return value

    async def end(self) -> None:
        """Ends the process, if there is one; another can be started."""
        child = self._close()
        if child is not None:
            await asyncio.get_running_loop().run_in_executor(None, child.wait)

    def close(self) -> None:
        """Ends it for good."""
        child = self._close()
        if child is not None:
            child.wait()

    def _close(self) -> subprocess.Popen[bytes] | None:
        link, self._link = self._link, None
        for each in self._following:
            each.cancel()
        if link is None:
            return None
        link.end()
        return link.child

    async def _read(self, link: _Link) -> None:
        await link.read()
        link.child.kill()  # it may have closed the socket only
        code = await asyncio.get_running_loop().run_in_executor(None, link.child.wait)
        self._link = None
        for each in self._following:
            if each is not asyncio.current_task():
                each.cancel()
        self._fell(f"exit code {code} {self._problem}".rstrip())
        link.end()

    async def _watch(self, link: _Link) -> None:
        before = False
        while not (before and link.stopped):
            before = link.stopped
            await asyncio.sleep(STOPPED_SECONDS)
        self._problem = f"stopped for {STOPPED_SECONDS:g} s"
        link.child.kill()

    def _fell(self, problem: str) -> None:
        now = self._monotonic()
        self._wait = SOONEST if now - self._began > LATEST else min(LATEST, 2 * self._wait)
        self._due = now + self._wait
        event(log, logging.ERROR, "the detectors' process ended", problem=problem, again_in_seconds=self._wait)
        self._ended()


def _start(end: int) -> subprocess.Popen[bytes]:
    paths = os.pathsep.join(os.path.abspath(path) for path in sys.path)  # noqa: PTH100  # of own detectors as well
    return subprocess.Popen(  # noqa: S603  # ourselves
        [sys.executable, "-P", "-m", "proxy.detection", str(os.getpid())],
        stdin=end,
        env={**os.environ, "PYTHONPATH": paths},
    )


def main() -> None:
    """The process's side: answers until its input, which is the socket, ends."""
    hold(int(sys.argv[1]))  # the end of the socket says nothing to a process that is stopped
    for name in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):  # they are the proxy's business
        signal.signal(name, signal.SIG_IGN)
    with contextlib.suppress(OSError):
        os.nice(NICENESS)
        Path("/proc/self/oom_score_adj").write_text(str(SOONER))
    end = os.dup(0)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)  # a detector may print
    questions, answers = os.fdopen(end, "rb"), os.fdopen(end, "wb", closefd=False)
    asked: SimpleQueue[tuple[str, tuple[Any, ...]]] = SimpleQueue()
    threading.Thread(target=_read, args=(questions, asked.put), daemon=True).start()
    engines = Engines()
    while True:
        method, arguments = asked.get()
        answer = _answer(engines, method, arguments)
        answers.write(len(answer).to_bytes(_SIZE, "little"))
        answers.write(answer)
        answers.flush()


def _read(questions: BinaryIO, put: Callable[[Any], None]) -> None:
    try:
        while True:
            put(pickle.load(questions))  # noqa: S301  # from our own parent
    except (EOFError, ConnectionError):
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
