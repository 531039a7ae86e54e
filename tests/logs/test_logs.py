"""One event, one line, whatever is in it; and no more lines of one event than its bound."""

import io
import json
import logging
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from proxy import logs
from proxy.config.schema import Log

NOTHING = Log.model_validate({"format": "json"})


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def written(settings: Log, *events: tuple[str, dict[str, Any]], clock: Clock | None = None) -> str:
    stream = io.StringIO()
    logs.configure(settings, stream, clock or Clock())
    for name, fields in events:
        logs.event(logging.getLogger("tensorwall.test"), logging.INFO, name, **fields)
    return stream.getvalue()


def test_a_json_line_has_the_event_and_its_fields() -> None:
    line = json.loads(written(NOTHING, ("ready", {"model": "m", "seconds": 1.5, "reasons": ["a"], "none": None})))
    assert line["message"] == "ready"
    assert line["logger"] == "tensorwall.test"
    assert (line["model"], line["seconds"], line["reasons"], line["none"]) == ("m", 1.5, ["a"], None)
    assert line["time"].endswith("Z")


def test_nested_fields_stay_objects() -> None:
    line = json.loads(
        written(NOTHING, ("verdict", {"subject": {"kind": "caller", "id": "a\nb"}, "evidence": [{"rows": 5}]}))
    )
    assert (line["subject"], line["evidence"]) == ({"kind": "caller", "id": "a\\nb"}, [{"rows": 5}])


def test_plain_text_for_people() -> None:
    assert written(Log(format="text"), ("ready", {"model": "m"})).endswith('INFO    ready model="m"\n')


@settings(deadline=None)
@given(st.sampled_from(["json", "text"]), st.text(), st.text(), st.text())
def test_a_line_is_one_line_of_printable_characters(form: str, name: str, key: str, value: str) -> None:
    stream = io.StringIO()
    logs.configure(Log.model_validate({"format": form}), stream, Clock())
    logging.getLogger("tensorwall.test").info("%s", name, extra={"fields": {key: value, "list": [value]}})
    text = stream.getvalue()
    assert text.endswith("\n")
    assert text[:-1].isprintable()


def test_fields_are_cut() -> None:
    line = json.loads(written(NOTHING, ("x", {"text": "a" * 5000})))
    assert line["text"] == "a" * 2000 + "... (3000 more characters)"


def test_an_exception_is_one_field() -> None:
    stream = io.StringIO()
    logs.configure(NOTHING, stream, Clock())
    try:
        raise ValueError("two\nlines")
    except ValueError:
        logs.event(logging.getLogger("tensorwall.test"), logging.ERROR, "failed", exc_info=True)
    line = json.loads(stream.getvalue())
    assert "ValueError: two | lines" in line["exception"]


def test_a_flood_is_counted_instead_of_written() -> None:
    clock = Clock()
    stream = io.StringIO()
    logs.configure(NOTHING, stream, clock)
    log = logging.getLogger("tensorwall.test")
    for _ in range(1000):
        logs.event(log, logging.WARNING, "flood")
    logs.event(log, logging.WARNING, "another")
    clock.now = 1.0
    logs.event(log, logging.WARNING, "flood")
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [line["message"] for line in lines] == ["flood"] * 10 + ["another", "flood"]
    assert lines[-1]["suppressed"] == 990


def test_the_level_is_kept() -> None:
    assert written(Log(level="error"), ("quiet", {})) == ""


def test_a_caller_that_left_before_its_reply_is_no_error() -> None:
    class ExecuteBatchError(Exception):
        """As gRPC's, which it does not publish."""

    stream = io.StringIO()
    logs.configure(NOTHING, stream)
    for error in (ExecuteBatchError("the caller is gone"), ValueError("a defect")):
        logging.getLogger("grpc._cython.cygrpc").error("raised in core", exc_info=error)
    assert [json.loads(line)["message"] for line in stream.getvalue().splitlines()] == ["raised in core"]
    assert "a defect" in stream.getvalue()
