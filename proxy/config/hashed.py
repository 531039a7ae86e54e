"""What a file holds of a secret: its hash, never itself, and until when it works."""

import re
from datetime import UTC, date, datetime, timedelta
from typing import Annotated

from pydantic import BeforeValidator


def _moment(value: object) -> object:
    """Text as UTC; a date alone is its first moment."""
    if not isinstance(value, str):
        return value
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        raise ValueError(f"{value!r:.40} is not a date; write YYYY-MM-DD or YYYY-MM-DDTHH:MM:SSZ") from None
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


def _end(value: object) -> object:
    """As `_moment`, but a date alone is its end: a key that expires on a day works through that day."""
    try:
        return datetime.combine(date.fromisoformat(str(value)) + timedelta(days=1), datetime.min.time(), UTC)
    except (ValueError, OverflowError):
        return _moment(value)


def _digest(value: object) -> object:
    # The value is not repeated: it may be a key, put here by mistake.
    if not isinstance(value, str) or re.fullmatch(r"[0-9a-fA-F]{64}", value) is None:
        raise ValueError("must be the SHA-256 of the whole key as 64 hexadecimal digits, never the key itself")
    return value.lower()


Sha256 = Annotated[str, BeforeValidator(_digest)]
"""Lower-case hexadecimal SHA-256."""
Moment = Annotated[datetime, BeforeValidator(_moment)]
End = Annotated[datetime, BeforeValidator(_end)]
"""The first moment, UTC, at which something no longer works."""
