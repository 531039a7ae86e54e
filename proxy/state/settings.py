"""Settings of the store: `kind: memory`, the default, or `kind: redis`."""

import re
from importlib.util import find_spec
from typing import Annotated, Literal
from urllib.parse import parse_qsl, urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

OnFailure = Literal["local", "open", "closed"]
_URL_OPTIONS = frozenset(
    {"ssl_ca_certs", "ssl_ca_path", "ssl_certfile", "ssl_keyfile", "ssl_cert_reqs", "ssl_check_hostname", "db"}
)


def _redis_url(value: str) -> str:
    url = urlsplit(value)
    if url.scheme not in ("redis", "rediss", "unix"):
        raise ValueError("the store's url begins with none of redis://, rediss:// (TLS) and unix://")
    if not (url.path if url.scheme == "unix" else url.hostname):
        raise ValueError("the store's url names no server; write redis://HOST:6379/0 or unix:///PATH")
    unknown = sorted({name for name, _ in parse_qsl(url.query, keep_blank_values=True)} - _URL_OPTIONS)
    if unknown:
        raise ValueError(
            f"the store's url has unknown options {', '.join(unknown)}; known: {', '.join(sorted(_URL_OPTIONS))}"
        )
    return value


def _namespace(value: str) -> str:
    if re.fullmatch(r"[A-Za-z0-9_.-]{1,64}", value) is None:
        raise ValueError(f"{value!r} is not a namespace; use up to 64 letters, digits and _ . -")
    return value


class _Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    max_keys: int = Field(default=100_000, ge=1000, le=10_000_000, description="counts kept of each kind, 0.2 KB each")


class MemoryStoreSettings(_Settings):
    """Counts of one process; a restart forgets them."""

    kind: Literal["memory"] = "memory"


class RedisStoreSettings(_Settings):
    """Counts, observations and verdicts shared by all proxies on one Redis (6.2 or newer) or Valkey."""

    kind: Literal["redis"]
    url: Annotated[str, AfterValidator(_redis_url)] = Field(
        description="redis://[user:password@]host:port/db, rediss:// for TLS, unix:///path"
    )
    cluster: bool = Field(default=False, description="the server is a node of a Redis Cluster")
    namespace: Annotated[str, AfterValidator(_namespace)] = Field(
        default="tensorwall", description="proxies with one namespace share their counts, observations and verdicts"
    )
    timeout: float = Field(default=0.25, gt=0, le=10, description="seconds a decision may take, connecting included")
    on_failure: OnFailure = Field(
        default="local",
        description="while the store is away: local limits a replica, admit all (open) or refuse all (closed); "
        "detection goes on with a replica's own rows (local, open) or refuses calls of what it enforces (closed)",
    )
    replicas: int = Field(default=1, ge=1, le=10_000, description="proxies that share the limits, for `local`")
    lease: float = Field(
        default=30, ge=1, le=3600, description="seconds after which a killed proxy's calls in flight no longer count"
    )

    @model_validator(mode="after")
    def _possible(self) -> "RedisStoreSettings":
        url = urlsplit(self.url)
        if self.cluster and (url.scheme == "unix" or url.path.strip("/") not in ("", "0")):
            raise ValueError("a Redis Cluster has neither unix sockets nor numbered databases; write redis://HOST:PORT")
        if find_spec("redis") is None:
            raise ValueError("kind redis needs the Redis client; install it with: pip install 'tensorwall[redis]'")
        return self


StoreSettings = Annotated[MemoryStoreSettings | RedisStoreSettings, Field(discriminator="kind")]
