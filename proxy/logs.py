"""Structured logs: one event a line, JSON for machines, plain text on a terminal.

    event(log, logging.INFO, "ready", model="m")

A line never holds a control character, an invisible one or a bidirectional override from somebody's text, fields are
bounded in length, and an event that repeats is limited, so that nobody can write the disk full. Raw inputs are never
logged.
"""

import io
import json
import logging
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, TextIO

from proxy.config.schema import Log

ROOT = "tensorwall"
MAX_FIELD_CHARS = 2000
MAX_FIELDS = 50
PER_SECOND = 10
"""Lines of one event a second; further ones are counted in the next line that is written."""
MAX_EVENTS = 1000
"""Events whose rate is followed; text of log messages is written in the code, so there are far fewer."""


def event(log: logging.Logger, level: int, name: str, *, exc_info: bool = False, **fields: object) -> None:
    """Logs an event with its fields.

    Args:
        log: a logger below `tensorwall`.
        level: as in `logging`.
        name: what happened, fixed text.
        exc_info: adds the exception being handled as one field.
        fields: strings, numbers, booleans, None, or lists and dictionaries of them.
    """
    log.log(level, name, exc_info=exc_info, extra={"fields": fields})


def configure(settings: Log, stream: TextIO = sys.stderr, clock: Callable[[], float] = time.monotonic) -> None:
    """Sends the events of the whole process to `stream`; replaces what an earlier call set up."""
    plain = settings.format == "text" or (settings.format == "auto" and stream.isatty())
    handler = logging.StreamHandler(stream)
    handler.setFormatter(TextFormatter() if plain else JsonFormatter())
    handler.addFilter(_worth_telling)
    handler.addFilter(RateLimit(clock))
    for name in (ROOT, "aiohttp", "asyncio", "grpc"):
        logger = logging.getLogger(name)
        logger.handlers[:] = [handler]
        logger.propagate = False
        logger.setLevel(settings.level.upper() if name == ROOT else logging.WARNING)


def printable(text: str) -> str:
    r"""The text on one line, whatever it holds, cut to its bound.

    >>> printable("a\nb\u202e")
    'a\\nb\\u202e'
    """
    if len(text) > MAX_FIELD_CHARS:
        text = f"{text[:MAX_FIELD_CHARS]}... ({len(text) - MAX_FIELD_CHARS} more characters)"
    return escaped(text)


def escaped(text: str) -> str:
    r"""The whole text on one line; what is not printable is written as Python would, such as `\u202e`."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode("ascii") for char in text)


def _worth_telling(record: logging.LogRecord) -> bool:
    """Not that a caller left before it had its reply: gRPC reports each of them as an error, with a traceback."""
    kind = record.exc_info[0] if record.exc_info else None
    return not (record.name == "grpc._cython.cygrpc" and kind is not None and kind.__name__ == "ExecuteBatchError")


class RateLimit(logging.Filter):
    """Lets `PER_SECOND` records of one logger and message text through a second."""

    def __init__(self, clock: Callable[[], float]) -> None:
        super().__init__()
        self._clock = clock
        self._seen: dict[tuple[str, str], tuple[int, int, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """False for a record too many; the next that passes carries the field `suppressed`."""
        key = (record.name, str(record.msg))
        second = int(self._clock())
        began, count, suppressed = self._seen.get(key, (second, 0, 0))
        if began != second:
            began, count = second, 0
        if count >= PER_SECOND:
            self._seen[key] = (began, count, suppressed + 1)
            return False
        if suppressed:
            record.fields = {**getattr(record, "fields", {}), "suppressed": suppressed}
        if len(self._seen) >= MAX_EVENTS and key not in self._seen:
            self._seen.clear()
        self._seen[key] = (began, count + 1, 0)
        return True


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time (RFC 3339, UTC), level, logger, message, then the event's own fields."""

    def format(self, record: logging.LogRecord) -> str:
        fields = _fields(record)
        line: dict[str, Any] = {
            "time": _moment(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": printable(record.getMessage()),
        }
        return json.dumps(line | {key: value for key, value in fields.items() if key not in line})


class TextFormatter(logging.Formatter):
    """`time LEVEL message key=value ...`."""

    def format(self, record: logging.LogRecord) -> str:
        fields = " ".join(f"{key}={json.dumps(value, ensure_ascii=False)}" for key, value in _fields(record).items())
        return f"{_moment(record)} {record.levelname:<7} {printable(record.getMessage())} {fields}".rstrip()


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    given = dict(list(getattr(record, "fields", {}).items())[:MAX_FIELDS])
    fields = {printable(str(key)): _plain(value) for key, value in given.items()}
    if record.exc_info and record.exc_info[0] is not None:
        text = io.StringIO(logging.Formatter().formatException(record.exc_info))
        fields["exception"] = printable(" | ".join(line.strip() for line in text))
    return fields


def _plain(value: object) -> object:
    if isinstance(value, bool | int | float) or value is None:
        return value
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value[:MAX_FIELDS]]
    if isinstance(value, dict):
        return {printable(str(key)): _plain(held) for key, held in list(value.items())[:MAX_FIELDS]}
    return printable(str(value))


def _moment(record: logging.LogRecord) -> str:
    moment = datetime.fromtimestamp(record.created, UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"
