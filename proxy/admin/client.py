"""The admin API from a command: address, token, TLS, errors in a sentence."""

import argparse
import http.client
import json
import os
import socket
import ssl
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from proxy.admin.api import BASE
from proxy.logs import printable

ADDRESS = "127.0.0.1:8601"
ADDRESS_VARIABLE, TOKEN_VARIABLE = "TENSORWALL_ADMIN", "TENSORWALL_ADMIN_TOKEN"
MAX_ANSWER = 64 * 2**20
_SECONDS = 30.0
"""Without anything from the proxy; its streams give signs of life more often than that."""


class ClientError(Exception):
    """The command cannot go on; `str()` is what the operator reads.

    Attributes:
        code: to exit with: 2 for a mistake in the command or the token, 1 for all else.
    """

    def __init__(self, text: str, code: int = 1) -> None:
        super().__init__(text)
        self.code = code


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Where the admin port is, and how it is reached."""
    parser.add_argument(
        "--admin",
        default=os.environ.get(ADDRESS_VARIABLE, ADDRESS),
        metavar="HOST:PORT",
        help=f"the proxy's admin port, or unix:/path; ${ADDRESS_VARIABLE} or {ADDRESS} if absent",
    )
    add_access_arguments(parser)


def add_access_arguments(parser: argparse.ArgumentParser) -> None:
    """How an admin port is reached."""
    where = parser.add_argument_group("access to the running proxy")
    where.add_argument(
        "--token-file", type=Path, metavar="FILE", help=f"file with the token; ${TOKEN_VARIABLE} if absent"
    )
    where.add_argument("--tls", action="store_true", help="the port speaks TLS; the system's roots are trusted")
    where.add_argument("--ca", type=Path, metavar="FILE", help="the port speaks TLS; PEM bundle of who is trusted")


class AdminClient:
    """Asks one admin port.

    Args:
        address: host:port, or unix:/path.
        arguments: as parsed, for the rest.

    Attributes:
        address: as given.
        heard: number of the latest event of its stream; empty before the first.

    Raises:
        ClientError: there is no token, or a file or the address cannot be used.
    """

    def __init__(self, address: str, arguments: argparse.Namespace) -> None:
        self.address = _checked(address)
        self.heard = ""
        self._token = _token(arguments.token_file)
        self._tls = _context(arguments.ca) if arguments.tls or arguments.ca is not None else None
        host = self.address.rpartition(":")[0].strip("[]")
        local = self.address.startswith("unix:") or host in ("localhost", "::1") or host.startswith("127.")
        if self._tls is None and not local:
            print(f"warning: the token goes to {host} in the clear; see --tls", file=sys.stderr)  # noqa: T201

    def get(self, path: str, query: Mapping[str, Any] | None = None) -> Any:
        """A GET's answer; parameters that are None are left out.

        Raises:
            ClientError: there is none, or it is no success.
        """
        given = {name: value for name, value in (query or {}).items() if value is not None}
        return self._ask("GET", path + (f"?{urlencode(given)}" if given else ""))

    def post(self, path: str, body: Mapping[str, Any]) -> Any:
        """A POST's answer.

        Raises:
            ClientError: as `get`.
        """
        return self._ask("POST", path, json.dumps(body))

    def stream(self) -> Iterator[tuple[str, Any]]:
        """Names and contents of Server-Sent Events, until the other side ends; the next one goes on after the latest.

        Raises:
            ClientError: as `get`.
        """
        connection, answer = self.open(
            "GET", f"{BASE}/stream", more={"Last-Event-ID": self.heard} if self.heard else {}
        )
        name = ""
        try:
            while raw := answer.readline(MAX_ANSWER):
                line = raw.decode().rstrip("\n")
                if line.startswith("id: "):
                    self.heard = line.removeprefix("id: ")
                elif line.startswith("event: "):
                    name = line.removeprefix("event: ")
                elif line.startswith("data: "):
                    yield name, json.loads(line.removeprefix("data: "))
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise ClientError(f"{self.address}: the stream broke: {error}") from None
        finally:
            connection.close()

    def _ask(self, method: str, path: str, body: str | None = None) -> Any:
        connection, answer = self.open(method, BASE + path, body)
        try:
            return json.loads(answer.read(MAX_ANSWER))
        except (OSError, http.client.HTTPException, ValueError):
            raise ClientError(f"{self.address}: is that the admin port of a tensorwall? It gave no JSON") from None
        finally:
            connection.close()

    def open(
        self, method: str, path: str, body: str | None = None, more: Mapping[str, str] | None = None
    ) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
        """A connection, to be closed, and the answer on it, to be read.

        Raises:
            ClientError: there is none, or it is no success.
        """
        headers = {"Authorization": f"Bearer {self._token}", **(more or {})}
        if body is not None:
            headers["Content-Type"] = "application/json"
        connection = self._connection()
        try:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            if 200 <= answer.status < 300:
                return connection, answer
            text = answer.read(MAX_ANSWER).decode(errors="replace")
        except (OSError, http.client.HTTPException, ValueError) as error:
            connection.close()
            raise ClientError(f"{self.address}: {_unanswered(error, self._tls is not None)}") from None
        connection.close()
        raise ClientError(f"{self.address}: {_said(text)}", 2 if answer.status in (400, 401) else 1)

    def _connection(self) -> http.client.HTTPConnection:
        if self.address.startswith("unix:"):
            return _UnixConnection("/" + self.address.removeprefix("unix:").lstrip("/"))
        host, _, port = self.address.rpartition(":")
        if self._tls is not None:
            return http.client.HTTPSConnection(host.strip("[]"), int(port), timeout=_SECONDS, context=self._tls)
        return http.client.HTTPConnection(host.strip("[]"), int(port), timeout=_SECONDS)


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=_SECONDS)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def _checked(address: str) -> str:
    host, _, port = address.rpartition(":")
    right = host and "/" not in host and port.isascii() and port.isdigit() and int(port) < 2**16
    if not (right or address.startswith("unix:")):
        raise ClientError(
            f"--admin {printable(address)}: write HOST:PORT or unix:/path; with --tls where it is https", 2
        )
    return address


def _unanswered(error: Exception, tls: bool) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not to be trusted: {error.verify_message}; name who vouches for it with --ca FILE"
    if isinstance(error, ssl.SSLError):
        return f"no TLS: {error.reason or error}; does the port speak it? Without --tls and --ca it is not asked to"
    if isinstance(error, http.client.HTTPException | ConnectionError) and not isinstance(error, ConnectionRefusedError):
        return f"no answer of HTTP: {printable(str(error))}; is it the admin port" + (
            "?" if tls else ", and does it speak TLS? See --tls and --ca"
        )
    return f"no answer: {error}; is the proxy running, and --admin right?"


def _token(path: Path | None) -> str:
    if path is None:
        token = os.environ.get(TOKEN_VARIABLE, "")
    else:
        try:
            token = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ClientError(f"--token-file {path}: cannot be read: {error}", 2) from None
    token = token.strip()
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        raise ClientError(f"a token is needed: set {TOKEN_VARIABLE}, or name a file with one as --token-file", 2)
    return token


def _context(ca: Path | None) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=None if ca is None else str(ca))
    except (OSError, ssl.SSLError) as error:
        raise ClientError(f"--ca {ca}: no PEM bundle of certificates: {error}", 2) from None


def _said(text: str) -> str:
    try:
        return printable(str(json.loads(text)["error"]))
    except (ValueError, KeyError, TypeError):
        return printable(text.strip()) or "no reason was given"
