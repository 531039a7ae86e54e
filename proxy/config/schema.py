"""What can be configured. Every default is one that a production deployment can start with.

Sizes are in bytes and may be written with a unit (`64MiB`, `4MB`); times are in seconds.
"""

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, field_serializer, model_validator

from proxy.config.admin import Admin
from proxy.config.capture import Capture
from proxy.config.events import Events
from proxy.config.files import File
from proxy.config.protection import LadderStep, Model
from proxy.config.section import PositiveSeconds, Seconds, Section, Size, freeze, plain, size
from proxy.limits import LimitRules
from proxy.state.settings import MemoryStoreSettings, StoreSettings

GRPC_MAX_BYTES = 2**31 - 1
"""TensorFlow Serving's own message limit (model_servers/server.cc: SetMaxMessageSize(INT32_MAX))."""


def _address(value: str) -> str:
    if value.startswith("unix:"):
        if not value.removeprefix("unix:").strip("/"):
            raise ValueError("a unix socket needs a path, as in unix:/run/tensorwall.sock")
        return value
    host, colon, port = value.rpartition(":")
    if not colon or not host or not port.isdigit() or int(port) > 65535:
        raise ValueError(f"{value!r} is not an address; write host:port (port 0 to 65535), [ipv6]:port or unix:/path")
    if ":" in host and not (host.startswith("[") and host.endswith("]")):
        raise ValueError(f"{value!r} is ambiguous; write an IPv6 address in brackets, as in [::1]:8500")
    return value


def _target(value: str) -> str:
    """Like an address, but a gRPC name (dns:///host:port) is welcome and port 0 is not."""
    _address(re.sub(r"^(dns:///?|ipv4:|ipv6:)", "", value))
    if value.endswith(":0"):
        raise ValueError(f"{value!r} has port 0; name the port that the model server listens on")
    return value


def _method(value: str) -> str:
    if re.fullmatch(r"/[\w.]+/\w+", value) is None:
        raise ValueError(f"{value!r} is not a full method name; write /package.Service/Method")
    return value


MessageSize = Annotated[int, BeforeValidator(size), Field(gt=0, le=GRPC_MAX_BYTES)]
Address = Annotated[str, AfterValidator(_address)]
Target = Annotated[str, AfterValidator(_target)]
Method = Annotated[str, AfterValidator(_method)]
HeaderName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_.-]*$", max_length=100)]
Compression = Literal["none", "gzip", "deflate"]


class Keepalive(Section):
    """HTTP/2 pings to the upstream.

    TensorFlow Serving keeps gRPC's default policing: pings closer than 300 s close the connection (too_many_pings).
    """

    interval: PositiveSeconds = Field(default=300.0, description="between pings, in seconds")
    timeout: PositiveSeconds = Field(default=20.0, description="for a ping's answer, in seconds")


class Retry(Section):
    """Second tries of calls that the upstream never began to answer, within the caller's deadline.

    The budget is gRPC's retry throttling (proposal A6): `budget` tokens, one lost a failure, `budget_refill` won back a
    success, no retry at or below half. Waits are fully jittered and double from `backoff` up to ten times it.
    """

    attempts: int = Field(default=3, ge=1, le=5, description="tries in all; 1 switches retries off")
    backoff: PositiveSeconds = Field(default=0.025, description="the first wait at most, in seconds")
    budget: float = Field(default=10.0, gt=0, le=1000)
    budget_refill: float = Field(default=0.1, gt=0, le=1)


class UpstreamTls(Section):
    """TLS to the upstream; `cert` and `key` make it mutual."""

    ca: File | None = Field(default=None, description="PEM bundle; the system's roots when absent")
    cert: File | None = None
    key: File | None = None
    server_name: str | None = Field(default=None, description="the name that the certificate must carry")

    @model_validator(mode="after")
    def _pair(self) -> "UpstreamTls":
        if (self.cert is None) != (self.key is None):
            raise ValueError("cert and key belong together; set both for mTLS or neither")
        return self


class Upstream(Section):
    """The TensorFlow Serving instances behind the proxy, all serving the same models."""

    targets: tuple[Target, ...] = Field(min_length=1, max_length=64, description="host:port, a DNS name, or unix:/path")
    tls: UpstreamTls | None = None
    keepalive: Keepalive = Keepalive()
    retry: Retry = Retry()
    default_deadline: PositiveSeconds = Field(default=300.0, description="seconds, for callers that set none")
    compression: Compression = "none"

    @model_validator(mode="before")
    @classmethod
    def _short_forms(cls, value: object) -> object:
        if isinstance(value, str):
            return {"targets": [value]}
        if isinstance(value, list | tuple):
            return {"targets": value}
        if isinstance(value, dict) and isinstance(value.get("targets"), str):
            return {**value, "targets": [value["targets"]]}
        if not isinstance(value, dict):
            raise ValueError(
                f"{value!r:.80} is no upstream; write HOST:PORT, a list of them, or a mapping with targets"
            )
        return value


class ServerTls(Section):
    """TLS for callers. The files are read again when they change."""

    cert: File
    key: File
    client_ca: File | None = Field(default=None, description="PEM bundle to check callers' certificates")
    require_client_cert: bool = False

    @model_validator(mode="after")
    def _ca(self) -> "ServerTls":
        if self.require_client_cert and self.client_ca is None:
            raise ValueError("require_client_cert needs client_ca, the bundle to check them against")
        return self


class CallersKeepalive(Section):
    """HTTP/2 pings to callers. A connection whose caller reads nothing any more, or is gone, ends with its calls."""

    interval: PositiveSeconds = Field(default=60.0, description="between pings, in seconds")
    timeout: PositiveSeconds = Field(default=20.0, description="for a ping's answer, in seconds")


class Listen(Section):
    """Where the proxy listens. Port 0 picks a free one; the start-up log line names it."""

    grpc: Address = Field(default="0.0.0.0:8600", description="host:port or unix:/path")
    admin: Address = Field(default="127.0.0.1:8601", description="HTTP: metrics, health, configuration")
    tls: ServerTls | None = None
    keepalive: CallersKeepalive = CallersKeepalive()
    compression: Compression = Field(default="none", description="of replies, for callers that accept it")


class ApiKeys(Section):
    """Keys made by `tensorwall keys add`; the file holds SHA-256 hashes and is read again when it changes."""

    file: File
    header: HeaderName = "x-api-key"


class ForwardedFor(Section):
    """The caller's address as `trusted_hops` proxies in front of this one have recorded it."""

    trusted_hops: int = Field(default=1, ge=1, le=16)


class Peer(Section):
    """The peer's address, cut to a prefix so that one host or network is one caller."""

    ipv4_prefix: int = Field(default=32, ge=8, le=32)
    ipv6_prefix: int = Field(default=64, ge=16, le=128)


Source = Literal["mtls", "api_key", "forwarded_for", "peer"]


class Identity(Section):
    """Who is calling. The first source in `order` that names a caller wins; when none does, the call is refused."""

    order: tuple[Source, ...] = Field(default=("peer",), min_length=1)
    api_keys: ApiKeys | None = None
    forwarded_for: ForwardedFor = ForwardedFor()
    peer: Peer = Peer()
    forward_headers: bool = Field(default=False, description="let the upstream see the headers that carry identity")

    @model_validator(mode="after")
    def _complete(self) -> "Identity":
        if len(set(self.order)) != len(self.order):
            raise ValueError(f"order names a source twice: {', '.join(self.order)}")
        if "api_key" in self.order and self.api_keys is None:
            raise ValueError("order names api_key, but api_keys is not set; add api_keys: {file: PATH}")
        if self.api_keys is not None and "api_key" not in self.order:
            raise ValueError("api_keys is set, but order does not name api_key; add it, or remove api_keys")
        return self


class Bounds(Section):
    """Refused before any work is done for it. TensorFlow Serving's own message limit is 2147483647."""

    message_bytes: MessageSize = Field(default=64 * 2**20, description="one request or reply")
    tensor_bytes: Size | None = Field(
        default=None,
        description="what one request's tensors may expand to in the model server; message_bytes if absent",
    )
    metadata_bytes: Size = Field(default=16 * 2**10, description="all of a call's headers")
    calls_in_flight: int = Field(default=1000, ge=1, le=1_000_000)
    overload_status: Literal["UNAVAILABLE", "RESOURCE_EXHAUSTED"] = "UNAVAILABLE"

    @property
    def tensor_budget(self) -> int:
        """Bytes that all tensors of one request may take in the model server."""
        return self.tensor_bytes or self.message_bytes


class Methods(Section):
    """Methods beyond inference, metadata and status are refused unless named here in full."""

    allow: tuple[Method, ...] = Field(default=(), max_length=256)


class Shutdown(Section):
    """SIGTERM: not serving at once, `settle` while balancers notice, then up to `drain` for calls in flight."""

    settle: Seconds = 5.0
    drain: Seconds = 30.0


class Log(Section):
    """Structured logs on standard error; `auto` is text on a terminal, JSON elsewhere."""

    format: Literal["auto", "json", "text"] = "auto"
    level: Literal["debug", "info", "warning", "error"] = "info"


ModelName = Annotated[str, Field(min_length=1, max_length=256)]
Secret = Annotated[str, Field(min_length=16, max_length=1024)]
CallerId = Annotated[str, Field(min_length=1, max_length=256)]


class Config(Section):
    """All of it; `upstream` alone is enough to start."""

    upstream: Upstream
    listen: Listen = Listen()
    admin: Admin = Admin()
    events: Events = Events()
    identity: Identity = Identity()
    bounds: Bounds = Bounds()
    methods: Methods = Methods()
    models: Annotated[Mapping[ModelName, Model], Field(max_length=1000), AfterValidator(freeze)] = Field(
        default_factory=lambda: MappingProxyType({})
    )
    limits: LimitRules = Field(default=(), description="of all inference calls together; a model has its own besides")
    store: StoreSettings = MemoryStoreSettings()
    callers: Annotated[Mapping[CallerId, LadderStep], Field(max_length=10_000), AfterValidator(freeze)] = Field(
        default_factory=lambda: MappingProxyType({}), description="callers put on a step of each model's ladder, by id"
    )
    secret: Secret | None = Field(
        default=None, description="keys the noise of answers, for all replicas alike; one of each process if absent"
    )
    capture: Capture | None = None
    shutdown: Shutdown = Shutdown()
    log: Log = Log()

    @field_serializer("models", "callers")
    def _plain(self, value: Mapping[str, Any]) -> Any:
        return plain(value)

    @model_validator(mode="after")
    def _mtls_needs_ca(self) -> "Config":
        tls = self.listen.tls
        if "mtls" in self.identity.order and (tls is None or tls.client_ca is None):
            raise ValueError(
                "identity.order names mtls, but their certificates are not checked; set listen.tls.client_ca"
            )
        return self
