"""Who may ask the admin port for what: tokens, sessions, and what keeps other sites' pages out.

Programs send `Authorization: Bearer TOKEN`. The page logs in once and has a cookie; each of its POSTs also needs the
session's CSRF token in X-CSRF-Token and an Origin that is the Host asked for. The role `viewer` may only look.
"""

import hmac
import re
from collections.abc import Callable
from dataclasses import dataclass

from aiohttp import web

from proxy.admin.failures import Failures
from proxy.admin.operators import MAX_TOKEN_CHARS, Operators
from proxy.admin.sessions import Session, SessionTable
from proxy.config.admin import Admin, Operator
from proxy.events.schema import AISVS_ACCESS, AccessEvent, stamp
from proxy.logs import printable

COOKIE = "tensorwall_session"
SECURE_COOKIE = "__Host-tensorwall_session"
"""Over TLS; browsers take this name for this host alone."""
CSRF = "X-CSRF-Token"
HOW = (
    "no operator is configured, so that nothing but /healthz, /readyz and /metrics is answered.\n"
    "Run `tensorwall operators add --name NAME --role operator`, and put what it prints under admin.operators.\n"
)
_BEARER = re.compile(r"bearer +([^ ]+) *", re.IGNORECASE)

Told = Callable[[AccessEvent], None]


@dataclass(frozen=True, slots=True)
class Visitor:
    """Who asks.

    Attributes:
        operator: as configured.
        session: of the page; None for a program.
        address: where the request came from.
    """

    operator: Operator
    session: Session | None
    address: str


class Refused(Exception):  # noqa: N818  # an answer, not a fault
    """A request that is not answered.

    Attributes:
        status: of HTTP.
        headers: beside the usual ones.
    """

    def __init__(self, status: int, text: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(text)
        self.status = status
        self.headers = headers or {}


class Access:
    """Access of one process. Sessions and counts outlive a reload; whoever is no operator any more is out at once.

    Args:
        settings: as configured now.
        told: of logins and of what was refused.
        clock: monotonic seconds.
        wall: seconds since 1970.
    """

    def __init__(
        self, settings: Callable[[], Admin], told: Told, clock: Callable[[], float], wall: Callable[[], float]
    ) -> None:
        self.sessions = SessionTable(clock)
        self.failures = Failures(clock)
        self._settings = settings
        self._told = told
        self._wall = wall
        self._limited: set[str] = set()

    @property
    def _operators(self) -> Operators:
        return Operators(self._settings().operators, self._wall)

    def visitor(self, request: web.Request, used: bool = True) -> Visitor:
        """Who asks.

        Args:
            request: theirs.
            used: whether it keeps their session from ending.

        Raises:
            Refused: no operator is configured, or none of them asks.
        """
        self.check_host(request)
        address = _address(request)
        sent = request.headers.getall("Authorization", [])
        if sent:
            match = _BEARER.fullmatch(sent[0]) if len(sent) == 1 and len(sent[0]) <= MAX_TOKEN_CHARS + 20 else None
            operator = None if match is None else self._operators.by_token(match[1])
            if operator is None:
                raise self._failed(request, address)
            return Visitor(operator, None, address)
        session = self._session(request, used)
        if session is None:
            raise Refused(401, "a token is needed; send it as `Authorization: Bearer TOKEN`, or log in\n", _CHALLENGE)
        return Visitor(session.operator, session, address)

    def may_change(self, request: web.Request, visitor: Visitor) -> None:
        """Whether a visitor may POST.

        Raises:
            Refused: it is the page's request, and not one that this page made; or its role is `viewer`.
        """
        if visitor.session is not None:
            self.check_origin(request)
            if not hmac.compare_digest(
                request.headers.get(CSRF, "").encode("utf-8", "surrogateescape"), visitor.session.csrf.encode()
            ):
                raise Refused(403, f"the header {CSRF} is not that of the session; load the page again\n")

    def may_act(self, request: web.Request, visitor: Visitor) -> None:
        """Whether a visitor may decide about callers.

        Raises:
            Refused: as `may_change`, or the role is `viewer`.
        """
        self.may_change(request, visitor)
        if visitor.operator.role != "operator":
            self._tell("access.forbidden", visitor.operator.name, visitor.address, request)
            raise Refused(403, "your role is viewer; only the role operator may do this\n")

    def log_in(self, request: web.Request, token: str) -> tuple[str, Session]:
        """Begins a session; the value of its cookie, and the session.

        Raises:
            Refused: the token is none, too many were tried from this address, or another site's page asks.
        """
        self.check_host(request)
        self.check_origin(request)
        address = _address(request)
        wait = self.failures.wait(address)
        operator = None if wait else self._operators.by_token(token)
        if operator is None:
            raise self._failed(request, address)
        self._tell("login", operator.name, address, request)
        return self.sessions.open(operator, self._settings().session)

    def log_out(self, request: web.Request, visitor: Visitor) -> None:
        """Ends the visitor's session."""
        for name in (COOKIE, SECURE_COOKIE):
            self.sessions.close(request.cookies.get(name, ""))
        self._tell("logout", visitor.operator.name, visitor.address, request)

    def check_host(self, request: web.Request) -> None:
        """Refuses where nobody has a token, and names that are not the proxy's.

        Raises:
            Refused: as said.
        """
        settings = self._settings()
        if not settings.operators:
            raise Refused(403, HOW)
        if settings.hosts and _host_name(request.headers.get("Host", "")) not in settings.hosts:
            raise Refused(421, "the Host header names none of admin.hosts; add the name there\n")

    def check_origin(self, request: web.Request) -> None:
        """Refuses what another site's page asks.

        Raises:
            Refused: as said.
        """
        origin = request.headers.get("Origin")
        site = request.headers.get("Sec-Fetch-Site", "same-origin")
        if site not in ("same-origin", "none") or (
            origin is not None and origin.partition("://")[2] != request.headers.get("Host", "")
        ):
            raise Refused(403, "the request comes from another site's page\n")

    def _session(self, request: web.Request, used: bool) -> Session | None:
        name = request.cookies.get(SECURE_COOKIE if request.secure else COOKIE, "")
        session = self.sessions.find(name, self._settings().session, used) if name else None
        if session is None:
            return None
        operator = self._operators.again(session.operator)
        if operator is None:
            self.sessions.close(name)
            return None
        session.operator = operator
        return session

    def _failed(self, request: web.Request, address: str) -> Refused:
        """Counts a wrong token. A right one is never refused for others' wrong ones, but on the page's login."""
        wait = self.failures.wait(address)
        if wait:
            if address not in self._limited:
                self._limited = {each for each in self._limited if self.failures.wait(each)} | {address}
                self._tell("access.limited", None, address, request)
            return Refused(
                429,
                "too many wrong tokens came from this address; try again later\n",
                {"Retry-After": str(int(wait) + 1)},
            )
        self._limited.discard(address)
        self.failures.note(address)
        self._tell("access.failed", None, address, request)
        return Refused(401, "the token is not valid\n", _CHALLENGE)

    def _tell(self, kind: str, operator: str | None, address: str, request: web.Request) -> None:
        self._told(
            AccessEvent.model_validate(
                {
                    "event": kind,
                    "time": stamp(self._wall()),
                    "operator": operator,
                    "address": address,
                    "what": printable(f"{request.method} {request.path}")[:200],
                    "owasp_aisvs": (AISVS_ACCESS,),
                }
            )
        )


_CHALLENGE = {"WWW-Authenticate": 'Bearer realm="tensorwall"'}


def _address(request: web.Request) -> str:
    """Of the connection; the name of the socket for a local one."""
    return request.remote or "unix"


def _host_name(host: str) -> str:
    return host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0].lower()
