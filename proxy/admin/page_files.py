"""The page's files, read once at the start. They hold nothing secret: all that is shown comes through the API."""

from collections.abc import Iterator
from importlib.resources import files
from importlib.resources.abc import Traversable

from aiohttp import web

from proxy.admin.access import Access

_TYPES = {
    "html": "text/html",
    "css": "text/css",
    "js": "text/javascript",
    "svg": "image/svg+xml",
}
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
)


def add_page(app: web.Application, access: Access) -> None:
    """`/` is the page, `/page/NAME` what it is made of; both only where an operator is configured."""
    found = {name: (file.read_bytes(), _TYPES[name.rpartition(".")[2]]) for name, file in _files()}

    async def page(request: web.Request) -> web.Response:
        access.check_host(request)
        body, kind = found.get(request.match_info.get("name", "index.html"), (None, ""))
        if body is None:
            raise web.HTTPNotFound
        headers = {"Content-Security-Policy": _POLICY, "Cache-Control": "no-cache"}
        return web.Response(body=body, content_type=kind, charset="utf-8", headers=headers)

    app.router.add_get("/", page)
    app.router.add_get("/page/{name:.+}", page)


def _files() -> Iterator[tuple[str, Traversable]]:
    root = files("proxy.admin").joinpath("page")
    if root.is_dir():
        yield from _below(root, "")


def _below(folder: Traversable, prefix: str) -> Iterator[tuple[str, Traversable]]:
    for entry in folder.iterdir():
        if entry.is_dir():
            yield from _below(entry, f"{prefix}{entry.name}/")
        elif entry.name.rpartition(".")[2] in _TYPES:
            yield prefix + entry.name, entry
