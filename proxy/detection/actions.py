"""What operators decide reaches all proxies that share a store, those that start later too.

What an action is, nothing here knows: a small JSON object with a name, under which a later one takes its place, and an
end. Who publishes one has done it already; the others are told of it. Since the latest counts, their order does not
matter, and being told of one twice has to do no harm.
"""

import json
import logging
import secrets
from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple, TypeAlias

from proxy.logs import event
from proxy.state.log import LogAwayError, LogStore, Record

log = logging.getLogger("tensorwall.detection")

Action: TypeAlias = Mapping[str, Any]
OnAction: TypeAlias = Callable[[Action, Literal["other", "past"]], None]
"""Told of another proxy's action, at once or, after a start or a loss of the store, of one that stands."""

KIND = "action"
LOG = ""
"""Name of the log and the facts; no model has it."""
MAX_BYTES = 4096
MAX_STANDING = 10_000
"""The one that was published longest ago is forgotten first, if there are more."""
SENT_TOGETHER = 64


class _Standing(NamedTuple):
    action: Action
    until: float | None

    def encoded(self) -> bytes:
        return json.dumps({"action": self.action, "until": self.until}, separators=(",", ":")).encode()


class SharedActions:
    """One process's part in it.

    Args:
        store: where they are.
        on_action: told of others' actions.
        clock: seconds since 1970.
    """

    def __init__(self, store: LogStore, on_action: OnAction, clock: Callable[[], float]) -> None:
        self._store = store
        self._on_action = on_action
        self._clock = clock
        self._origin = secrets.token_hex(6)
        self._seq = 0
        self._epoch = ""
        self._last = 0
        self._met = False
        self._unsent: dict[str, _Standing] = {}
        self._standing: dict[str, _Standing] = {}

    @property
    def waiting(self) -> bool:
        """Whether there is something to send."""
        return bool(self._unsent)

    def publish(self, name: str, action: Action, until: float | None) -> None:
        """Tells the others, as soon as the store is there.

        Args:
            name: under which it stands; one published later takes its place.
            action: JSON.
            until: when it runs out, seconds since 1970; None for never.

        Raises:
            ValueError: it is too large.
        """
        standing = _Standing(action, until)
        size = len(standing.encoded()) + len(name)
        if size > MAX_BYTES:
            raise ValueError(f"the action takes {size} bytes, and may take {MAX_BYTES}")
        self._unsent.pop(name, None)
        self._unsent[name] = standing
        self._stand(name, standing)

    def anew(self) -> None:
        """The store may have forgotten, and others may have published."""
        self._met = False
        self._unsent = self._standing | self._unsent

    async def sync(self) -> None:
        """Sends what is to be sent, and takes what others published. Does nothing while the store is away."""
        try:
            if self._store.good and not self._met:
                await self._meet()
            if self._store.good:
                await self._exchange()
        except LogAwayError:
            pass

    async def _meet(self) -> None:
        """Takes what stands. What comes later is in the log behind its present end: facts are written first."""
        page = await self._store.exchange(LOG, self._origin, "", 0, ())
        self._epoch, self._last = page.epoch, page.total
        gone = []
        for name, raw in (await self._store.kept(LOG)).items():
            standing = _decoded(raw)
            if standing is None or (standing.until is not None and standing.until <= self._clock()):
                gone.append(name)
            else:
                self._take(name, standing, "past")
        if gone:
            await self._store.keep(LOG, {}, gone, None)
        self._met = True

    async def _exchange(self) -> None:
        sending = list(self._unsent.items())[:SENT_TOGETHER]
        records = []
        for name, standing in sending:
            self._seq += 1
            records.append(Record(self._seq, KIND, 1, "", json.dumps([name, standing.encoded().decode()]).encode()))
        if sending:
            await self._store.keep(LOG, {name: standing.encoded() for name, standing in sending}, (), None)
        page = await self._store.exchange(LOG, self._origin, self._epoch, self._last, records)
        for name, standing in sending:
            if self._unsent.get(name) is standing:
                del self._unsent[name]
        if self._epoch not in ("", page.epoch):
            self.anew()
        self._epoch = page.epoch
        self._last = page.entries[-1].end if page.entries else page.total
        for entry in page.entries:
            if entry.kind == KIND and entry.origin != self._origin:
                self._receive(entry.payload)

    def _receive(self, payload: bytes) -> None:
        try:
            name, encoded = json.loads(payload)
            standing = _decoded(encoded)
        except (ValueError, TypeError):
            standing = None
        if standing is None:
            event(log, logging.WARNING, "action of another proxy left out: it is damaged")
        else:
            self._take(name, standing, "other")

    def _take(self, name: str, standing: _Standing, source: Literal["other", "past"]) -> None:
        if self._standing.get(name) != standing and name not in self._unsent:  # one's own that waits is the later one
            self._stand(name, standing)
            try:
                self._on_action(standing.action, source)
            except Exception as error:
                event(
                    log, logging.ERROR, "action of another proxy not done", action=standing.action, problem=repr(error)
                )

    def _stand(self, name: str, standing: _Standing) -> None:
        self._standing.pop(name, None)
        self._standing[name] = standing
        if len(self._standing) > MAX_STANDING:
            now = self._clock()
            for other, each in tuple(self._standing.items()):
                if each.until is not None and each.until <= now:
                    del self._standing[other]
            while len(self._standing) > MAX_STANDING:
                del self._standing[next(iter(self._standing))]


def _decoded(raw: bytes | str) -> _Standing | None:
    try:
        value = json.loads(raw)
        until = value["until"]
        if not isinstance(value["action"], dict) or not (until is None or isinstance(until, int | float)):
            return None
        return _Standing(value["action"], until)
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
