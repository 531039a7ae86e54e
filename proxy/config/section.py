"""What all sections of the configuration have in common."""

import copyreg
import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

_UNITS = {"": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "kib": 2**10, "mib": 2**20, "gib": 2**30}


def size(value: object) -> object:
    """Bytes, from a number or a text with a unit; anything else as it is.

    Raises:
        ValueError: the text is no size.
    """
    if not isinstance(value, str):
        return value
    match = re.fullmatch(r"\s*(\d+)\s*([a-zA-Z]*)\s*", value)
    if match is None or match[2].lower() not in _UNITS:
        raise ValueError(f"{value!r} is not a size; write bytes, or a number with KiB, MiB, GiB, KB, MB or GB")
    return int(match[1]) * _UNITS[match[2].lower()]


Size = Annotated[int, BeforeValidator(size), Field(gt=0)]
Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]
PositiveSeconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Section(BaseModel):
    """A frozen part of the configuration that refuses unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=False)


def freeze(value: dict[str, Any]) -> MappingProxyType[str, Any]:
    """A mapping that cannot be changed."""
    return MappingProxyType(value)


copyreg.pickle(MappingProxyType, lambda mapping: (freeze, (dict(mapping),)))
"""Sections travel to the detectors' process."""


def plain(value: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """A frozen mapping of sections or plain values, ready for YAML or JSON."""
    if value is None:
        return None
    return {
        key: item.model_dump(mode="json", exclude_none=True) if isinstance(item, BaseModel) else item
        for key, item in value.items()
    }
