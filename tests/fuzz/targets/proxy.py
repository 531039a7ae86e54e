"""A running proxy with everything on, over real sockets: its gRPC port and its admin port.

Before it is fuzzed it is attacked: where a verdict on a cluster stands, the rows of all calls are compared with it.
"""

import itertools
import json
import os
import re
import socket
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from hashlib import blake2b
from pathlib import Path
from unittest.mock import patch

import grpc
import numpy as np

from detectors.profile import Profile
from proxy.activity import caller_key
from proxy.codec import METHODS
from tests.calls import call, open_channel
from tests.fuzz.process import GIVE_BACK
from tests.fuzz.target import Plain
from tests.fuzz.targets.calls import UPSTREAM, Calls, answer, parted, searched
from tests.fuzz.targets.everything import models
from tests.processes import START_SECONDS, TOKEN, Proxy, admin_page, serving_proxy

_REFUSALS = frozenset(
    {"INVALID_ARGUMENT", "RESOURCE_EXHAUSTED", "PERMISSION_DENIED", "FAILED_PRECONDITION", "UNAUTHENTICATED"}
)
"""What the proxy itself answers to a request for what is in it; UNAVAILABLE besides where a purifier is needed."""
_SECONDS = 20.0
_POLICY = {"evasion": {"answer": "silent", "ladder": [{"step": "block", "score": 0.5, "ttl": 10**6}]}}
"""What is near the cluster is answered as earlier rows were, for as long as a run takes."""
_DETECTION = {"mode": "enforce", "policy": _POLICY, "delay": [0.0, 0.001]}
_PATIENCE = 0.3
"""Seconds in which the admin port says something, or waits for more."""


class _Log:
    """What a proxy has written since it was last looked at."""

    def __init__(self, proxy: Proxy) -> None:
        self._proxy = proxy
        self._seen = 0

    def check(self) -> None:
        """Fails if it tells of a defect, or the proxy has ended."""
        assert self._proxy.process.process.poll() is None, "the proxy has ended"
        text = self._proxy.process.log()[self._seen :]
        self._seen += len(text)
        told = next((line for line in text.splitlines() if "Traceback" in line), "")
        assert not told, f"in the log: {told[-500:]}"


class RequestPath(Calls):
    """Calls of a proxy in front of a model server that answers by `calls.answer`."""

    name = "proxy"

    def __init__(self, proxy: Proxy, channel: grpc.Channel) -> None:
        self.pid = proxy.process.process.pid
        self._channel = channel
        self._log = _Log(proxy)

    def run(self, data: bytes) -> str:
        path, body = parted(data)
        one, two, three = blake2b(body, digest_size=3).digest()
        found = call(
            self._channel, path, body, metadata=(("x-forwarded-for", f"10.{one}.{two}.{three}"),), timeout=_SECONDS
        )
        self._log.check()
        if found.code is grpc.StatusCode.OK:
            return "OK"
        name = str(found.code.name)
        if found.details.startswith(UPSTREAM):
            return f"the model server's {name}"
        cleaning = found.code is grpc.StatusCode.UNAVAILABLE and "cannot be cleaned at present" in found.details
        assert cleaning or name in _REFUSALS, f"{name}: {found.details}"
        return name


class AdminPort(Plain):
    """Bytes on a connection to the admin port; whatever they are, a request for /healthz follows."""

    name = "admin"
    tokens = (
        *(
            b"GET ",
            b"POST ",
            b"HEAD ",
            b"OPTIONS ",
            b"PUT ",
            b" HTTP/1.1\r\n",
            b" HTTP/1.0\r\n",
            b"\r\n\r\n",
            b"/api/v1/",
        ),
        *(
            b"Host: x\r\n",
            b"Origin: http://[\r\n",
            b"Sec-Fetch-Site: cross-site\r\n",
            b"Last-Event-ID: 1\r\n",
            b"Accept: */*\r\n",
        ),
        *(
            b"Transfer-Encoding: chunked\r\n",
            b"Content-Encoding: gzip\r\n",
            b"Expect: 100-continue\r\n",
            b"Upgrade: h2c\r\n",
        ),
        *(
            b"Content-Type: application/json; charset=x\r\n",
            b"Cookie: tensorwall_session=x\r\n",
            b"Content-Length: 5\r\n",
        ),
        *(
            b'"reason":"r"',
            b'"seconds":' + b"9" * 400,
            b'"name":"\\ud800"',
            b'"model":null',
            b"[" * 1000,
            b"?limit=",
            b"&q=",
        ),
        *(
            b"callers",
            b"attacks",
            b"events",
            b"traffic",
            b"stream",
            b"block",
            b"release",
            b"immunise",
            b"%2f",
            b"%ff",
            b"//",
        ),
    )

    def __init__(self, proxy: Proxy) -> None:
        self.pid = proxy.process.process.pid
        host, _, port = proxy.admin.rpartition(":")
        self._address = host, int(port)
        self._log = _Log(proxy)

    def seeds(self) -> Sequence[bytes]:
        paths = [
            *("/metrics", "/healthz", "/readyz", "/config", "/verdicts?model=free", "/", "/page.js"),
            *(f"/api/v1/{name}" for name in ("summary", "models", "session", "stream", "traffic?seconds=60")),
            *(
                "/api/v1/callers?q=10&sort=score&order=asc&limit=5",
                "/api/v1/attacks?step=any",
                "/api/v1/events?offset=1",
            ),
            f"/api/v1/callers/{caller_key('peer:10.0.0.1')}",
        ]
        decide = f"/api/v1/callers/{caller_key('peer:10.0.0.1')}/"
        body = '{"name": "peer:10.0.0.1", "reason": "tried", "model": "free", "seconds": 60}'
        posts = [
            *((decide + kind, body) for kind in ("block", "immunise")),
            *((decide + kind, '{"name": "peer:10.0.0.1", "reason": "over"}') for kind in ("release", "end_immunity")),
            ("/api/v1/login", f'{{"token": "{TOKEN}"}}'),
            ("/api/v1/logout", "{}"),
            ("/observations", '{"model": "free", "seconds": 0.01, "salt": "' + "00" * 16 + '"}'),
        ]
        return [_request("GET", path) for path in paths] + [_request("POST", path, text) for path, text in posts]

    def mended(self, data: bytes) -> bytes:
        """The body's length."""
        head, blank, body = data.partition(b"\r\n\r\n")
        return re.sub(rb"Content-Length: \d+", b"Content-Length: %d" % len(body), head) + blank + body

    def run(self, data: bytes) -> str:
        said = self._say(data + _request("GET", "/healthz").replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        statuses = [int(code) for code in re.findall(rb"^HTTP/1\.[01] (\d{3}) ", said, re.MULTILINE)]
        self._log.check()
        assert not [code for code in statuses if code >= 500 and code not in (501, 503)], said[:300].decode("latin-1")
        return str(statuses[0]) if statuses else "no answer"

    def _say(self, data: bytes) -> bytes:
        said = b""
        with socket.create_connection(self._address, timeout=_SECONDS) as connection:
            try:
                connection.sendall(data)
                connection.settimeout(_PATIENCE)
                while len(said) < 2**20 and (more := connection.recv(2**16)):
                    said += more
            except (TimeoutError, ConnectionError):
                pass  # it waits for more, or would hear no more
        return said


def _request(method: str, path: str, body: str = "") -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost", f"Authorization: Bearer {TOKEN}"]
    if body:
        lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    return "\r\n".join([*lines, "", body]).encode()


class _ModelServer(grpc.GenericRpcHandler):
    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler | None:
        path = handler_call_details.method

        def handle(body: bytes, context: grpc.ServicerContext) -> bytes:
            reply = answer(path, body)
            if reply.code is not grpc.StatusCode.OK:
                context.abort(reply.code, reply.details)
            return reply.body

        return grpc.unary_unary_rpc_method_handler(handle) if path in METHODS else None


@contextmanager
def _running() -> Iterator[Proxy]:
    server = grpc.server(ThreadPoolExecutor(4), handlers=(_ModelServer(),))
    address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    try:
        with tempfile.TemporaryDirectory() as name, patch.dict(os.environ, GIVE_BACK):
            folder = Path(name)
            profiles = {model: folder / f"{model}.json" for model in ("known", "free")}
            for model, path in profiles.items():
                Profile.defaults(model, bytes(16)).write(path)
            watched = {
                model: rules | {"detection": _DETECTION | {"profile": str(profiles[model])}}
                for model, rules in models().items()
            }
            capture = {"path": str(folder / "captured"), "models": {"known": 1, "free": 1}}
            sections = {
                "models": watched,
                "identity": {"order": ["forwarded_for"]},
                "limits": [{"by": "global", "rate": "1e9/s", "burst": 10**12}],
                "capture": {**capture, "file_bytes": "1MiB", "disk_bytes": "4MiB"},
                "events": {"file": {"path": str(folder / "audit.jsonl")}},
            }
            with serving_proxy(folder, address, **sections) as proxy:
                _attack(proxy)
                yield proxy
    finally:
        server.stop(None).wait()


def _attack(proxy: Proxy) -> None:
    """Searches around an image that is in the seeds, under four names, until it is found."""
    rng = np.random.default_rng(0)
    deadline = time.monotonic() + START_SECONDS
    with open_channel(proxy.address) as channel:
        for name in itertools.cycle(range(4)):
            body = searched(rng).SerializeToString()
            metadata = (("x-forwarded-for", f"203.0.113.{name}"),)
            call(channel, "/tensorflow.serving.PredictionService/Predict", body, metadata=metadata, timeout=_SECONDS)
            found = json.loads(admin_page(proxy.admin, "/verdicts?model=free"))["verdicts"]
            if any(each["subject"]["kind"] == "cluster" and each["step"] == "block" for each in found):
                return
            assert time.monotonic() < deadline, f"the search was not found: {found}"


@contextmanager
def request_path() -> Iterator[RequestPath]:
    """A proxy's gRPC port, while it runs."""
    with _running() as proxy, open_channel(proxy.address) as channel:
        yield RequestPath(proxy, channel)


@contextmanager
def admin_port() -> Iterator[AdminPort]:
    """A proxy's admin port, while it runs."""
    with _running() as proxy:
        yield AdminPort(proxy)
