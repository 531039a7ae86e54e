"""Where events come in, and from where they go out: to the ring that the page reads, and to whoever listens."""

import asyncio
import secrets
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from proxy.events.schema import Event, content_of

KEPT = 2000
"""Events that are remembered for the page; the audit log has all of them."""
MAX_LISTENERS = 32
WAITING = 256
"""Messages that wait for one listener; one that is slower loses its connection."""

Message = tuple[int, str, dict[str, Any]]
"""Number (0 for what is not remembered), name and content."""


@dataclass(slots=True, eq=False)
class Listener:
    """One who is told of events as they come."""

    waiting: asyncio.Queue[Message | None] = field(default_factory=lambda: asyncio.Queue(WAITING))
    lost: bool = False

    def tell(self, message: Message) -> None:
        """Never waits; who does not keep up is lost."""
        if self.lost:
            return
        if self.waiting.full():
            self.lost = True
            self.waiting.get_nowait()
            self.waiting.put_nowait(None)
        else:
            self.waiting.put_nowait(message)


class Hub:
    """The events of one process. For one thread: the event loop's.

    Attributes:
        name: of this process's events, which another one's numbers say nothing about.
        sinks: told of each event as plain values; must neither wait nor raise.
        lost: listeners that did not keep up.
        number: of the latest event.
    """

    def __init__(self) -> None:
        self.name = secrets.token_hex(4)
        self.sinks: list[Callable[[dict[str, Any]], None]] = []
        self.lost = 0
        self.number = 0
        self._kept: deque[Message] = deque(maxlen=KEPT)
        self._listeners: set[Listener] = set()

    def publish(self, event: Event) -> None:
        """Takes an event in."""
        content = content_of(event)
        self.number += 1
        message = self.number, str(content["event"]), content
        self._kept.append(message)
        for sink in self.sinks:
            sink(content)
        self._tell(message)

    def show(self, name: str, content: dict[str, Any]) -> None:
        """Tells listeners of what is no event, such as the last second's traffic."""
        self._tell((0, name, content))

    def since(self, number: int) -> list[Message]:
        """The remembered events after a number, oldest first."""
        return [each for each in self._kept if each[0] > number]

    def listen(self) -> Listener | None:
        """One more listener; None if there are as many as there may be."""
        if len(self._listeners) >= MAX_LISTENERS:
            return None
        listener = Listener()
        self._listeners.add(listener)
        return listener

    def leave(self, listener: Listener) -> None:
        """One listener less."""
        self._listeners.discard(listener)

    @property
    def listeners(self) -> int:
        """How many there are."""
        return len(self._listeners)

    def close(self) -> None:
        """Ends all listeners."""
        for listener in tuple(self._listeners):
            listener.lost = True
            while not listener.waiting.empty():
                listener.waiting.get_nowait()
            listener.waiting.put_nowait(None)

    def _tell(self, message: Message) -> None:
        for listener in self._listeners:
            before = listener.lost
            listener.tell(message)
            self.lost += listener.lost and not before
