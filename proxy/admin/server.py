"""The admin port, on the proxy's own event loop: small answers, made quickly, and streams. `api` has `/api/v1`."""

import asyncio
import json
import logging
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Any

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from prometheus_client import CollectorRegistry, Metric
from prometheus_client.exposition import choose_encoder

from proxy.admin.access import Access, Refused
from proxy.admin.acting import Acting
from proxy.admin.api import BASE, Handler, add_routes, deciding, known
from proxy.admin.page_files import add_page
from proxy.admin.views import Views
from proxy.config.redact import redact
from proxy.config.schema import Config
from proxy.readiness import Readiness

log = logging.getLogger("tensorwall.admin.http")

_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}
_MAX_HEADER_BYTES = 8190
PIECE = 16 * 2**10
_MAX_CONNECTIONS = 100
"""The listen queue; scrapes and probes come one at a time."""


@dataclass(frozen=True, slots=True)
class AdminServer:
    """A listening admin port. `address` is host:port as bound, or unix:/path."""

    address: str
    runner: web.AppRunner

    async def close(self) -> None:
        """Stops listening and ends its connections."""
        await self.runner.cleanup()


@dataclass(frozen=True, slots=True)
class Shown:
    """What the admin port answers from.

    Attributes:
        registry: of the metrics.
        readiness: of the proxy.
        config: in force.
        access: who may ask for what.
        views: what the API shows.
        acting: takes decisions.
        observations: handles live windows of traffic.
    """

    registry: CollectorRegistry
    readiness: Callable[[], Readiness]
    config: Callable[[], Config]
    access: Access
    views: Views
    acting: Acting
    observations: Handler


async def start_admin(address: str, shown: Shown, tls: ssl.SSLContext | None = None) -> AdminServer:
    """Listens on `host:port` (port 0 picks one) or `unix:/path`.

    Raises:
        OSError: the address cannot be bound.
    """
    app = web.Application(middlewares=[_plain_errors], client_max_size=1024)
    app.on_response_prepare.append(_dress)
    _check_expectations(app.router)
    access = shown.access
    app.router.add_get("/metrics", _metrics(shown.registry))
    app.router.add_get("/healthz", _healthz)
    app.router.add_get("/readyz", _readyz(shown.readiness))
    app.router.add_get("/config", known(access, _config(shown.config)))
    app.router.add_get("/verdicts", known(access, _verdicts(shown.views.detection.verdicts)))
    app.router.add_post("/observations", deciding(access, shown.observations))
    add_routes(app, access, shown.views, shown.acting)
    add_page(app, access)
    runner = web.AppRunner(
        app,
        access_log=None,
        logger=log,
        max_line_size=_MAX_HEADER_BYTES,
        max_field_size=_MAX_HEADER_BYTES,
        keepalive_timeout=30,
        shutdown_timeout=1.0,
    )
    await runner.setup()
    try:
        return AdminServer(await _listen(runner, address, tls), runner)
    except OSError:
        await runner.cleanup()
        raise


def _check_expectations(router: web.UrlDispatcher) -> None:
    """Refuses an Expect header that aiohttp fails to repeat in its own refusal, before any handler runs."""
    resolve = router.resolve

    async def checked(request: web.Request) -> web.UrlMappingMatchInfo:
        if not request.headers.get("Expect", "").isascii():
            raise web.HTTPExpectationFailed(text="417: only 100-continue can be expected")
        return await resolve(request)

    router.resolve = checked  # type: ignore[method-assign]


async def _listen(runner: web.AppRunner, address: str, tls: ssl.SSLContext | None) -> str:
    if address.startswith("unix:"):
        path = "/" + address.removeprefix("unix:").lstrip("/")
        await web.UnixSite(runner, path, backlog=_MAX_CONNECTIONS, ssl_context=tls).start()
        return address
    host, _, port = address.rpartition(":")
    await web.TCPSite(runner, host.strip("[]"), int(port), backlog=_MAX_CONNECTIONS, ssl_context=tls).start()
    return f"{host}:{runner.addresses[0][1]}"


_NOT_OURS = HttpProcessingError, web.RequestPayloadError, web.PayloadAccessError, ConnectionResetError


class _Defects(logging.Filter):
    """Keeps out what is the other side's doing: it sent what is no HTTP and was told so, or it went away."""

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        return not isinstance(error, _NOT_OURS)


log.addFilter(_Defects())


class _Collected(CollectorRegistry):
    """What a registry had at one moment."""

    def __init__(self, families: tuple[Metric, ...]) -> None:
        super().__init__()
        self._families = families

    def collect(self) -> Iterator[Metric]:
        """The same each time."""
        return iter(self._families)


def _metrics(registry: CollectorRegistry) -> Handler:
    async def handler(request: web.Request) -> web.Response:
        encode, content_type = choose_encoder(request.headers.get("Accept", ""))
        # Values are read here, since verdicts are this loop's own; writing them takes twice as long, and calls go on.
        body = await asyncio.to_thread(encode, _Collected(tuple(registry.collect())))
        return web.Response(body=body, headers={"Content-Type": content_type})

    return handler


async def _healthz(request: web.Request) -> web.Response:
    del request
    return web.Response(text="ok\n")


def _readyz(readiness: Callable[[], Readiness]) -> Handler:
    async def handler(request: web.Request) -> web.Response:
        del request
        now = readiness()
        body = {"ready": now.ready, "reasons": list(now.reasons)}
        return web.json_response(body, status=200 if now.ready else 503)

    return handler


def _config(config: Callable[[], Config]) -> Handler:
    async def handler(request: web.Request) -> web.Response:
        del request
        return web.Response(text=json.dumps(redact(config()), indent=2) + "\n", content_type="application/json")

    return handler


def _verdicts(verdicts: Callable[[str | None], AsyncIterator[dict[str, Any]]]) -> Handler:
    """There may be thousands, so they go out as they are written."""

    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/json; charset=utf-8"})
        await response.prepare(request)
        text = '{"verdicts": ['
        async for verdict in verdicts(request.query.get("model")):
            text += json.dumps(verdict)
            if len(text) > PIECE:
                await response.write(text.encode())
                text = ""
            text += ", "
        await response.write((text.removesuffix(", ") + "]}").encode())
        return response

    return handler


@web.middleware
async def _plain_errors(request: web.Request, handler: Callable[[web.Request], Awaitable[Any]]) -> web.StreamResponse:
    """Short texts instead of pages; `{"error": TEXT}` below the API."""
    try:
        answer: web.StreamResponse = await handler(request)
    except web.HTTPException as error:
        allow = {"Allow": error.headers["Allow"]} if "Allow" in error.headers else {}
        return _error(request, error.status, f"{error.status} {error.reason}\n", allow)
    except web.RequestPayloadError:
        return _error(request, 400, "the body cannot be read: its length or encoding is not what the headers say\n", {})
    except Refused as refused:
        return _error(request, refused.status, str(refused), refused.headers)
    return answer


def _error(request: web.Request, status: int, text: str, headers: dict[str, str]) -> web.Response:
    if request.path.startswith(BASE + "/"):
        return web.json_response({"error": text.strip()}, status=status, headers=headers)
    return web.Response(text=text, status=status, headers=headers)


async def _dress(request: web.Request, response: web.StreamResponse) -> None:
    """The same headers on every answer, unless it brings its own; none that names what serves it."""
    del request
    response.headers["Server"] = "tensorwall"
    for name, value in _HEADERS.items():
        response.headers.setdefault(name, value)
