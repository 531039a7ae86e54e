"""Sessions of those who logged in on the page."""

import hashlib
import secrets
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from proxy.config.admin import Operator, Sessions

MAX_SESSIONS = 256


@dataclass(slots=True)
class Session:
    """One browser's session.

    Attributes:
        operator: whose.
        csrf: to be sent in the header X-CSRF-Token with every POST.
        began, used: seconds.
    """

    operator: Operator
    csrf: str
    began: float
    used: float


class SessionTable:
    """Open sessions, by the hash of their id. Memory: MAX_SESSIONS; the one used least lately goes first.

    Args:
        clock: monotonic seconds.

    Attributes:
        evicted: sessions that were forgotten before their time.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self.evicted = 0
        self._clock = clock
        self._sessions: OrderedDict[bytes, Session] = OrderedDict()

    def __len__(self) -> int:
        return len(self._sessions)

    def open(self, operator: Operator, settings: Sessions) -> tuple[str, Session]:
        """Begins a session; its id for the cookie, 256 random bits, and the session."""
        now = self._clock()
        for key, each in tuple(self._sessions.items()):
            if self._ended(each, settings, now):
                del self._sessions[key]
        if len(self._sessions) >= MAX_SESSIONS:
            self._sessions.popitem(last=False)
            self.evicted += 1
        name = secrets.token_urlsafe(32)
        session = Session(operator, secrets.token_urlsafe(32), now, now)
        self._sessions[_key(name)] = session
        return name, session

    def find(self, name: str, settings: Sessions, used: bool = True) -> Session | None:
        """The session of a cookie, if it has not ended; unless told otherwise, it counts as used."""
        key = _key(name)
        session = self._sessions.get(key)
        if session is None:
            return None
        now = self._clock()
        if self._ended(session, settings, now):
            del self._sessions[key]
            return None
        if used:
            session.used = now
            self._sessions.move_to_end(key)
        return session

    def close(self, name: str) -> None:
        """Ends a session."""
        self._sessions.pop(_key(name), None)

    @staticmethod
    def _ended(session: Session, settings: Sessions, now: float) -> bool:
        return now - session.used >= settings.idle or now - session.began >= settings.absolute


def _key(name: str) -> bytes:
    """What is looked up tells nothing, by its timing, about any id."""
    return hashlib.sha256(name.encode("utf-8", "surrogatepass")).digest()
