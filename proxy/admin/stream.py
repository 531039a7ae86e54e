"""`/api/v1/stream`: events as they come, as Server-Sent Events (WHATWG HTML, section 9.2)."""

import asyncio
import contextlib
import json
from typing import Any

from aiohttp import web

from proxy.admin.access import Access, Refused
from proxy.admin.views import Views
from proxy.events.hub import MAX_LISTENERS, Hub, Listener
from proxy.events.schema import kind_of

TICK = 5.0
"""Seconds of silence after which a `tick` is sent, so that the other side knows that the connection lives."""
PATIENCE = 10.0
"""Seconds in which the other side must take a message."""


async def stream(request: web.Request, access: Access, views: Views) -> web.StreamResponse:
    """Sends `hello`, then each event under `attack`, `action`, `access`, `configuration` or `proxy`, and `tick`s.

    With Last-Event-ID, what came since is sent first, as far as it is remembered. The stream ends with the session.
    """
    listener = views.hub.listen()
    if listener is None:
        raise Refused(
            503, f"{MAX_LISTENERS} streams are open, which is as many as there may be\n", {"Retry-After": "5"}
        )
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "X-Accel-Buffering": "no"})
    try:
        await response.prepare(request)
        with contextlib.suppress(ConnectionError, TimeoutError, Refused):
            await _follow(request, response, access, views, listener)
    finally:
        views.hub.leave(listener)
    return response


async def _follow(
    request: web.Request, response: web.StreamResponse, access: Access, views: Views, listener: Listener
) -> None:
    async def send(kind: str, content: dict[str, Any], number: int = 0) -> None:
        async with asyncio.timeout(PATIENCE):
            await response.write(_message(kind, content, f"{views.hub.name}-{number}" if number else ""))

    await send("hello", {"now": views.clock()})
    sent = _heard(request.headers.get("Last-Event-ID", ""), views.hub)
    for number, name, content in views.hub.since(sent):
        await send(_kind(name), content, number)
        sent = number
    checked = views.clock()
    while True:
        try:
            found = await asyncio.wait_for(listener.waiting.get(), TICK)
        except TimeoutError:
            found = 0, "tick", {"now": views.clock()}
        if found is None:
            return
        if views.clock() - checked >= TICK:
            access.visitor(request, used=False)
            checked = views.clock()
        number, name, content = found
        if number > sent or not number:
            await send(_kind(name) if number else name, content, number)
            sent = max(sent, number)


def _heard(last: str, hub: Hub) -> int:
    """Number of the last event that the other side has; 0 if it heard of a process that is gone."""
    if not last:
        return hub.number
    name, _, number = last.partition("-")
    known = name == hub.name and number.isascii() and number.isdigit() and len(number) < 16
    return min(int(number), hub.number) if known else 0


def _kind(name: str) -> str:
    kind = kind_of(name)
    return "attack" if kind == "verdict" else kind


def _message(kind: str, content: dict[str, Any], name: str) -> bytes:
    """JSON in ASCII has no line break, whatever is in it."""
    numbered = f"id: {name}\n" if name else ""
    return f"{numbered}event: {kind}\ndata: {json.dumps(content)}\n\n".encode()
