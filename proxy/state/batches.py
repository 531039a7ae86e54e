"""Requests that come while others are under way travel together: one round trip and one command for many of them.

Nothing waits for a batch to fill. At low load each request travels alone and at once; under load the batches grow by
themselves to what arrives in a round trip.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Generic, TypeVar

from proxy.state.tasks import ended

T = TypeVar("T")
R = TypeVar("R")


class Batches(Generic[T, R]):
    """Sends batches of requests, one at a time, in the order in which they came.

    Args:
        send: answers a batch, one answer a request, in order. What it raises, each of its requests raises.
        most: requests in a batch.
    """

    def __init__(self, send: Callable[[Sequence[T]], Awaitable[Sequence[R]]], most: int) -> None:
        self._send = send
        self._most = most
        self._waiting: deque[tuple[T, asyncio.Future[R]]] = deque()
        self._task: asyncio.Task[None] | None = None

    async def submit(self, request: T) -> R:
        """The answer to one request. If the caller gives up before it is sent, it is not sent."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[R] = loop.create_future()
        self._waiting.append((request, answer))
        if self._task is None:
            self._task = loop.create_task(self._drain())
        return await answer

    async def _drain(self) -> None:
        try:
            while batch := self._next():
                try:
                    values = await self._send([request for request, _ in batch])
                    for (_, answer), value in zip(batch, values, strict=True):
                        if not answer.done():
                            answer.set_result(value)
                except Exception as error:  # handed to those who asked
                    _fail(batch, error)
                except asyncio.CancelledError:
                    _fail(batch, ConnectionError("closed"))
                    raise
        finally:
            self._task = None

    def _next(self) -> list[tuple[T, asyncio.Future[R]]]:
        batch: list[tuple[T, asyncio.Future[R]]] = []
        while self._waiting and len(batch) < self._most:
            request, answer = self._waiting.popleft()
            if not answer.done():
                batch.append((request, answer))
        return batch

    async def close(self) -> None:
        """Ends; what is waiting or under way raises ConnectionError."""
        _fail(self._waiting, ConnectionError("closed"))
        self._waiting.clear()
        await ended(self._task)


def _fail(requests: Iterable[tuple[T, asyncio.Future[R]]], error: Exception) -> None:
    for _, answer in requests:
        if not answer.done():
            answer.set_exception(error)
