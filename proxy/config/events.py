"""Where events go: an audit log, a webhook, an Alertmanager."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, field_serializer

from proxy.config.files import File
from proxy.config.section import PositiveSeconds, Section, Size, freeze, plain


def _url(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.fragment:
        raise ValueError("is no address of HTTP; write http://HOST:PORT/PATH or https://...")
    return value


def _folder(value: Path) -> Path:
    if not value.parent.is_dir():
        raise ValueError(f"the folder {str(value.parent)!r} does not exist; make it, writable for the proxy")
    if value.is_dir():
        raise ValueError(f"{str(value)!r} is a folder; name a file in it")
    return value


Url = Annotated[str, Field(max_length=2048), AfterValidator(_url)]
Kind = Literal["verdict", "action", "access", "configuration", "proxy"]


class AuditLog(Section):
    """An append-only file of JSON lines, each with the hash of the one before. One proxy writes one file."""

    path: Annotated[Path, AfterValidator(_folder)] = Field(description="made with mode 0600 if it is not there")
    max_bytes: Size = Field(default=64 * 2**20, description="after which the next file begins")
    max_age: PositiveSeconds = Field(default=7 * 86_400, description="seconds after which the next file begins")
    keep: Annotated[int, Field(ge=1, le=10_000)] = Field(default=20, description="older files: PATH.1 is the latest")
    fsync: Literal["always", "second", "never"] = Field(
        default="second", description="when lines are forced to the disk; always: with each batch"
    )


class Webhook(Section):
    """Each event as a POST of its own, signed, tried again while nobody takes it."""

    url: Url
    secret: Annotated[str, Field(min_length=16, max_length=1024)] = Field(description="keys HMAC-SHA256")
    kinds: Annotated[tuple[Kind, ...], Field(min_length=1)] = Field(
        default=("verdict", "action", "access", "configuration", "proxy"), description="of events that are sent"
    )
    timeout: PositiveSeconds = Field(default=10, description="seconds for one try")
    attempts: Annotated[int, Field(ge=1, le=50)] = Field(default=10, description="tries of one event")
    ca: File | None = Field(default=None, description="PEM bundle; the system's roots when absent")


class Alertmanager(Section):
    """Attacks as alerts, for those who have no Prometheus rules. One for each model, technique, mode and severity."""

    urls: Annotated[
        tuple[Url, ...],
        BeforeValidator(lambda value: (value,) if isinstance(value, str) else value),
        Field(min_length=1, max_length=8),
    ] = Field(description="of each instance of the Alertmanager, without /api/v2/alerts")
    interval: PositiveSeconds = Field(default=30, description="seconds after which firing alerts are sent again")
    shadow: bool = Field(default=False, description="also for verdicts in shadow")
    labels: Annotated[Mapping[str, str], Field(max_length=32), AfterValidator(freeze)] = Field(
        default_factory=lambda: freeze({}), description="added to each alert, as cluster: eu-1"
    )
    timeout: PositiveSeconds = Field(default=10, description="seconds for one try")
    ca: File | None = Field(default=None, description="PEM bundle; the system's roots when absent")

    @field_serializer("labels")
    def _plain(self, value: Mapping[str, Any]) -> Any:
        return plain(value)


class Events(Section):
    """What happened that somebody may have to answer for: verdicts, decisions, logins, changes of configuration."""

    file: AuditLog | None = None
    webhook: Webhook | None = None
    alertmanager: Alertmanager | None = None
