"""`/api/v1`: what the page and the commands ask for, as JSON. docs/operators.md describes it."""

import json
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from proxy.admin.access import COOKIE, SECURE_COOKIE, Access, Refused, Visitor
from proxy.admin.acting import Acting
from proxy.admin.sessions import Session
from proxy.admin.stream import stream
from proxy.admin.views import MAX_PAGE, SORTS, Asked, Views
from proxy.config.admin import Operator
from proxy.events.schema import content_of

BASE = "/api/v1"
MAX_BODY_BYTES = 8192
MAX_TEXT = 256
"""Characters of a query parameter."""

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
_VISITOR = web.RequestKey("visitor", Visitor)


def add_routes(app: web.Application, access: Access, views: Views, acting: Acting) -> None:
    """Adds all of it to an application."""

    def reading(path: str, answer: Callable[[web.Request], Awaitable[Any]]) -> None:
        app.router.add_get(BASE + path, known(access, _json(answer)))

    async def callers(request: web.Request) -> Any:
        return await views.caller_list(_asked(request, ("q", "model", "step", "technique")))

    async def caller(request: web.Request) -> Any:
        return await views.caller(request.match_info["key"]) or _missing("caller")

    async def attacks(request: web.Request) -> Any:
        return await views.attack_list(_asked(request, ("model", "technique", "step")))

    async def attack(request: web.Request) -> Any:
        return views.attack(request.match_info["id"]) or _missing("attack")

    async def events(request: web.Request) -> Any:
        return views.events(_number(request, "limit", 50, 1, MAX_PAGE), _number(request, "offset", 0, 0, 10**9))

    async def traffic(request: web.Request) -> Any:
        return views.recent_traffic(_number(request, "seconds", 300, 1, 599))

    async def session(request: web.Request) -> Any:
        visitor = request[_VISITOR]
        return _session(visitor.operator, visitor.session)

    reading("/callers", callers)
    reading("/callers/{key}", caller)
    reading("/summary", _always(views.summary))
    reading("/attacks", attacks)
    reading("/attacks/{id}", attack)
    reading("/models", _always(views.model_list))
    reading("/events", events)
    reading("/traffic", traffic)
    reading("/session", session)
    app.router.add_get(
        BASE + "/stream", known(access, lambda request: stream(request, access, views)), allow_head=False
    )
    app.router.add_post(BASE + "/login", _login(access))
    app.router.add_post(BASE + "/logout", known(access, _logout(access)))
    app.router.add_post(BASE + "/callers/{key}/{action}", known(access, _act(access, acting)))


def _always(answer: Callable[[], Awaitable[Any]]) -> Callable[[web.Request], Awaitable[Any]]:
    """An answer to which a request's parameters make no difference."""

    async def handler(request: web.Request) -> Any:
        del request
        return await answer()

    return handler


def known(access: Access, handler: Handler) -> Handler:
    """Answers operators only."""

    async def guarded(request: web.Request) -> web.StreamResponse:
        request[_VISITOR] = access.visitor(request)
        return await handler(request)

    return guarded


def deciding(access: Access, handler: Handler) -> Handler:
    """Answers operators only whose role it is to decide."""

    async def guarded(request: web.Request) -> web.StreamResponse:
        access.may_act(request, access.visitor(request))
        return await handler(request)

    return guarded


def _json(answer: Callable[[web.Request], Awaitable[Any]]) -> Handler:
    async def handler(request: web.Request) -> web.Response:
        return web.json_response(await answer(request))

    return handler


def _login(access: Access) -> Handler:
    async def handler(request: web.Request) -> web.Response:
        token = (await _body(request)).get("token")
        if not isinstance(token, str):
            raise Refused(400, 'write {"token": "..."}\n')
        name, session = access.log_in(request, token)
        response = web.json_response(_session(session.operator, session))
        response.set_cookie(
            SECURE_COOKIE if request.secure else COOKIE,
            name,
            path="/",
            httponly=True,
            samesite="Strict",
            secure=request.secure,
        )
        return response

    return handler


def _logout(access: Access) -> Handler:
    async def handler(request: web.Request) -> web.Response:
        visitor = request[_VISITOR]
        access.may_change(request, visitor)
        access.log_out(request, visitor)
        response = web.json_response({})
        response.del_cookie(COOKIE, path="/", httponly=True, samesite="Strict")
        response.del_cookie(SECURE_COOKIE, path="/", httponly=True, samesite="Strict", secure=True)
        return response

    return handler


def _act(access: Access, acting: Acting) -> Handler:
    async def handler(request: web.Request) -> web.Response:
        visitor = request[_VISITOR]
        access.may_act(request, visitor)
        asked = await _body(request)
        event = acting.act(request.match_info["key"], request.match_info["action"], asked, visitor)
        return web.json_response(content_of(event))

    return handler


async def _body(request: web.Request) -> dict[str, Any]:
    if request.content_type != "application/json":
        raise Refused(415, "send the body as application/json\n")
    try:
        raw = await request.content.read(MAX_BODY_BYTES + 1)
        while len(raw) <= MAX_BODY_BYTES and (more := await request.content.read(MAX_BODY_BYTES + 1 - len(raw))):
            raw += more
        if len(raw) > MAX_BODY_BYTES:
            raise Refused(413, f"the body is larger than {MAX_BODY_BYTES} bytes\n")
        found = json.loads(raw)
    except (ValueError, RecursionError):
        raise Refused(400, "the body is no JSON\n") from None
    if not isinstance(found, dict):
        raise Refused(400, "the body is no JSON object\n")
    return found


def _session(operator: Operator, session: Session | None) -> dict[str, Any]:
    return {"name": operator.name, "role": operator.role, "csrf": None if session is None else session.csrf}


def _missing(what: str) -> Any:
    raise Refused(404, f"there is no such {what}; it may have been forgotten\n")


def _asked(request: web.Request, filters: tuple[str, ...]) -> Asked:
    query = request.query
    sort, order = query.get("sort", ""), query.get("order", "desc")
    if sort and sort not in SORTS:
        raise Refused(400, f"sort: is one of {', '.join(SORTS)}\n")
    if order not in ("asc", "desc"):
        raise Refused(400, "order: is asc or desc\n")
    given = {name: query.get(name, "") for name in filters}
    if any(len(value) > MAX_TEXT for value in given.values()):
        raise Refused(400, f"a filter has at most {MAX_TEXT} characters\n")
    limit, offset = _number(request, "limit", 50, 1, MAX_PAGE), _number(request, "offset", 0, 0, 10**9)
    return Asked(offset, limit, given, sort, order == "desc")


def _number(request: web.Request, name: str, default: int, least: int, most: int) -> int:
    text = request.query.get(name, str(default))
    if not (text.isascii() and text.isdigit() and len(text) < 12 and least <= int(text) <= most):
        raise Refused(400, f"{name}: is a whole number from {least} to {most}\n")
    return int(text)
