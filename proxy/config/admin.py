"""Who may use the admin port, and how."""

from typing import Annotated, Literal

from pydantic import Field, field_serializer, model_validator

from proxy.config.files import File
from proxy.config.hashed import End, Sha256
from proxy.config.section import PositiveSeconds, Section

Role = Literal["viewer", "operator"]


class Operator(Section):
    """One person or program with a token, made by `tensorwall operators add`; its hash is all that is kept of it."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.@-]{1,64}$")] = Field(description="as it stands in the audit log")
    role: Role = Field(description="viewer reads; operator also blocks, releases and immunises callers")
    sha256: Sha256 = Field(repr=False, description="of the whole token, 64 hexadecimal digits")
    expires: End | None = Field(default=None, description="YYYY-MM-DD, works through that day; or a moment, UTC")

    @field_serializer("expires", when_used="json-unless-none")
    def _stamp(self, value: End) -> str:
        return value.isoformat()


class AdminTls(Section):
    """TLS of the admin port. The files are read again when they change."""

    cert: File
    key: File


class Sessions(Section):
    """Of those who log in on the page; programs send their token with each request instead."""

    idle: PositiveSeconds = Field(default=1800, description="seconds without a request after which one ends")
    absolute: PositiveSeconds = Field(default=43_200, description="seconds after which one ends in any case")


class Admin(Section):
    """Access to the admin port. Health and metrics are open; all else needs an operator's token."""

    operators: Annotated[tuple[Operator, ...], Field(max_length=200)] = Field(
        default=(), description="none: everything but health and metrics is refused"
    )
    hosts: Annotated[tuple[Annotated[str, Field(max_length=253)], ...], Field(max_length=32)] = Field(
        default=(), description="names that a Host header may have, without a port; any if none is named"
    )
    session: Sessions = Sessions()
    tls: AdminTls | None = None

    @model_validator(mode="after")
    def _distinct(self) -> "Admin":
        for what, values in (
            ("name", [each.name for each in self.operators]),
            ("token", [each.sha256 for each in self.operators]),
        ):
            if len(set(values)) != len(values):
                raise ValueError(f"two operators have the same {what}; give each its own")
        return self
