"""The documented schema is the code's, and what the proxy writes fits it."""

import hashlib
import hmac
import re
import time
from pathlib import Path

import pytest
from pydantic import TypeAdapter, ValidationError

from detectors.findings import Technique
from proxy.events.schema import AISVS, Event, ProcessEvent, content_of, json_schema, kind_of, stamp, verdict_event
from proxy.events.webhook import signature

PAGE = (Path(__file__).parents[2] / "docs" / "events.md").read_text()
NAMES = re.findall(r'"((?:verdict|access|configuration|proxy)\.\w+|action|login|logout)"', json_schema())


def test_the_page_has_the_schema() -> None:
    assert json_schema() in PAGE, "put what proxy.events.schema.json_schema() gives there"


def test_the_page_names_every_event() -> None:
    assert len(set(NAMES)) == 15
    assert all(f"`{name}`" in PAGE for name in NAMES)
    assert {kind_of(name) for name in NAMES} == {"verdict", "action", "access", "configuration", "proxy"}


def test_every_technique_has_what_a_siem_files_it_under() -> None:
    for technique in Technique:
        event = verdict_event("verdict.new", None, {"technique": technique.value}, 0.0)
        assert (event.atlas, event.owasp_ml) == ((technique.atlas,), (technique.owasp,))
        assert event.owasp_aisvs == (AISVS[technique],)


def test_a_line_of_the_file_fits_and_one_with_more_does_not() -> None:
    adapter: TypeAdapter[Event] = TypeAdapter(Event)
    content = content_of(ProcessEvent(event="proxy.started", time=stamp(0.5), tensorwall="1"))
    assert content["time"] == "1970-01-01T00:00:00.500Z"
    assert not {"seq", "previous", "lost", "kept"} & set(content)
    adapter.validate_python(content | {"seq": 1, "previous": "0" * 64})
    for wrong in ({"input": [1.0]}, {"version": 2}, {"previous": "x"}, {"event": "proxy.exploded"}):
        with pytest.raises(ValidationError):
            adapter.validate_python(content | wrong)


def test_the_documented_check_of_a_signature_works() -> None:
    scope: dict[str, object] = {"hashlib": hashlib, "hmac": hmac, "time": time}
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    exec(code, scope)
    genuine = scope["genuine"]
    assert callable(genuine)
    now = int(time.time())
    header = signature("a secret", now, b"{}")
    assert genuine(b"a secret", header, b"{}")
    assert not genuine(b"a secret", header, b"{ }")
    assert not genuine(b"another", header, b"{}")
    assert not genuine(b"a secret", signature("a secret", now - 1000, b"{}"), b"{}")
