"""The audit log's events, version 1. docs/events.md has the JSON Schema that `json_schema` writes."""

import json
import secrets
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from detectors.findings import Technique
from proxy.policy.manual import ActionKind

VERSION: Literal[1] = 1

AISVS = {
    Technique.EVASION: "C11.2",
    Technique.EXTRACTION: "C11.5",
    Technique.MEMBERSHIP: "C11.3",
    Technique.INVERSION: "C11.4",
}
"""Section of the OWASP AI Security Verification Standard 1.0 that speaks of a technique."""
AISVS_ACTION = "C14"
"""Human oversight."""
AISVS_ACCESS = "C5"
"""Access control and identity."""
AISVS_CHANGE = "C11.7"
"""Security policy adaptation."""


class _Event(BaseModel):
    """What all events have.

    Attributes:
        version: of this schema.
        id: unique; the same in the file, the webhook and the stream.
        time: RFC 3339, UTC.
        atlas: techniques of MITRE ATLAS.
        owasp_ml: entries of the OWASP Machine Learning Security Top 10 (2023).
        owasp_aisvs: sections of the OWASP AI Security Verification Standard 1.0.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    version: Literal[1] = VERSION
    seq: int | None = Field(default=None, ge=1, description="in the file only: number of the line")
    previous: str | None = Field(
        default=None, pattern="^[0-9a-f]{64}$", description="in the file only: SHA-256 of the line before"
    )
    lost: int | None = Field(default=None, description="in the file only: events that were lost before this line")
    kept: int | None = Field(
        default=None, description="in a file's first line only: number of the oldest line that the log still keeps"
    )
    id: str = Field(default_factory=lambda: secrets.token_hex(8))
    time: str
    atlas: tuple[str, ...] = ()
    owasp_ml: tuple[str, ...] = ()
    owasp_aisvs: tuple[str, ...] = ()


class VerdictEvent(_Event):
    """A verdict is new, reached a harder step, came down to a milder one, ran out, or was ended by a release."""

    event: Literal["verdict.new", "verdict.reached", "verdict.lowered", "verdict.expired", "verdict.released"]
    before: str | None = Field(description="the step before; null if there was none")
    verdict: dict[str, Any] = Field(description="as GET /verdicts shows it: subject, step, mode, score and evidence")


class ActionEvent(_Event):
    """An operator decided about a caller."""

    event: Literal["action"] = "action"
    action: ActionKind
    action_id: str
    caller: str
    model: str | None = Field(description="null for all models")
    operator: str
    address: str = Field(description="where the operator's request came from; empty for another replica's")
    reason: str
    until: str | None = Field(description="when it runs out, RFC 3339; null for never")


class AccessEvent(_Event):
    """Somebody used a token, or tried to. `access.limited` is said once for all that follow until the limit ends."""

    event: Literal["login", "logout", "access.failed", "access.limited", "access.forbidden"]
    operator: str | None = Field(description="null if the token is unknown")
    address: str
    what: str = Field(description="what was asked for")


class ConfigurationEvent(_Event):
    """A configuration was taken while running, or refused."""

    event: Literal["configuration.reloaded", "configuration.refused"]
    problems: tuple[str, ...] = ()


class ProcessEvent(_Event):
    """A proxy began or ended."""

    event: Literal["proxy.started", "proxy.stopped"]
    tensorwall: str = Field(description="the version that runs")


Event = Annotated[
    VerdictEvent | ActionEvent | AccessEvent | ConfigurationEvent | ProcessEvent, Field(discriminator="event")
]


def kind_of(name: str) -> str:
    """Which of `verdict`, `action`, `access`, `configuration` and `proxy` an event is."""
    first = name.partition(".")[0]
    return "access" if first in ("login", "logout") else first


def stamp(time: float) -> str:
    """Seconds since 1970 as RFC 3339, UTC, with milliseconds."""
    return datetime.fromtimestamp(time, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def content_of(event: Event) -> dict[str, Any]:
    """An event as plain values, without what only a line of the file has."""
    return event.model_dump(mode="json", exclude={"seq", "previous", "lost", "kept"})


def verdict_event(kind: str, before: str | None, verdict: dict[str, Any], now: float) -> VerdictEvent:
    """An event about a verdict, with what a SIEM files it under."""
    technique = Technique(verdict["technique"])
    return VerdictEvent.model_validate(
        {
            "event": kind,
            "time": stamp(now),
            "before": before,
            "verdict": verdict,
            "atlas": (technique.atlas,),
            "owasp_ml": (technique.owasp,),
            "owasp_aisvs": (AISVS[technique],),
        }
    )


def json_schema() -> str:
    """JSON Schema of an event."""
    schema = TypeAdapter(Event).json_schema()
    return json.dumps({"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}, indent=2)
