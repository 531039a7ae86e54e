"""The admin port, on the proxy's own event loop: small answers, and a stream of observations."""

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from aiohttp import web
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from proxy.config.redact import redact
from proxy.config.schema import Config
from proxy.readiness import Readiness

_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
}
_MAX_HEADER_BYTES = 8190
_MAX_CONNECTIONS = 100
"""The listen queue; scrapes and probes come one at a time."""

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class AdminServer:
    """A listening admin port. `address` is host:port as bound, or unix:/path."""

    address: str
    runner: web.AppRunner

    async def close(self) -> None:
        """Stops listening and ends its connections."""
        await self.runner.cleanup()


async def start_admin(
    address: str,
    *,
    registry: CollectorRegistry,
    readiness: Callable[[], Readiness],
    config: Callable[[], Config],
    verdicts: Callable[[str | None], list[dict[str, Any]]],
    observations: Handler,
) -> AdminServer:
    """Listens on `host:port` (port 0 picks one) or `unix:/path`.

    Raises:
        OSError: the address cannot be bound.
    """
    app = web.Application(middlewares=[_plain_errors], client_max_size=1024)
    app.router.add_get("/metrics", _metrics(registry))
    app.router.add_get("/healthz", _healthz)
    app.router.add_get("/readyz", _readyz(readiness))
    app.router.add_get("/config", _config(config))
    app.router.add_get("/verdicts", _verdicts(verdicts))
    app.router.add_post("/observations", observations)
    runner = web.AppRunner(
        app, access_log=None, max_line_size=_MAX_HEADER_BYTES, max_field_size=_MAX_HEADER_BYTES, keepalive_timeout=30
    )
    await runner.setup()
    try:
        return AdminServer(await _listen(runner, address), runner)
    except OSError:
        await runner.cleanup()
        raise


async def _listen(runner: web.AppRunner, address: str) -> str:
    if address.startswith("unix:"):
        path = "/" + address.removeprefix("unix:").lstrip("/")
        await web.UnixSite(runner, path, backlog=_MAX_CONNECTIONS).start()
        return address
    host, _, port = address.rpartition(":")
    await web.TCPSite(runner, host.strip("[]"), int(port), backlog=_MAX_CONNECTIONS).start()
    return f"{host}:{runner.addresses[0][1]}"


def _metrics(registry: CollectorRegistry) -> Handler:
    async def handler(request: web.Request) -> web.Response:
        encode, content_type = choose_encoder(request.headers.get("Accept", ""))
        return web.Response(body=encode(registry), headers={"Content-Type": content_type})

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


def _verdicts(verdicts: Callable[[str | None], list[dict[str, Any]]]) -> Handler:
    async def handler(request: web.Request) -> web.Response:
        return web.json_response({"verdicts": verdicts(request.query.get("model"))})

    return handler


@web.middleware
async def _plain_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Short texts instead of pages, and the same headers on every answer."""
    try:
        response = await handler(request)
    except web.HTTPException as error:
        allow = {"Allow": error.headers["Allow"]} if "Allow" in error.headers else {}
        response = web.Response(status=error.status, text=f"{error.status} {error.reason}\n", headers=allow)
    response.headers.update(_HEADERS)
    return response
