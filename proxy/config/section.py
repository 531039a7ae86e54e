"""What all sections of the configuration have in common."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]
PositiveSeconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Section(BaseModel):
    """A frozen part of the configuration that refuses unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=False)


def freeze(value: dict[str, Any]) -> Mapping[str, Any]:
    """A mapping that cannot be changed."""
    return MappingProxyType(value)


def plain(value: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """A frozen mapping of sections or plain values, ready for YAML or JSON."""
    if value is None:
        return None
    return {
        key: item.model_dump(mode="json", exclude_none=True) if isinstance(item, BaseModel) else item
        for key, item in value.items()
    }
