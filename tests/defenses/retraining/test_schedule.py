"""When a run is due: by the audit log and the time of the last success."""

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest

from defenses.retraining.schedule import (
    DAY,
    METRIC,
    ScheduleError,
    When,
    confirmed_attacks,
    exposition,
    last_success,
    note_success,
    push_success,
    stamp,
)
from proxy.metrics.catalogue import PUSHED


def event(kind: str, at: float, name: str, step: str = "block", mode: str = "enforce", model: str = "m") -> str:
    verdict: dict[str, Any] = {"id": name, "model": model, "step": step, "mode": mode, "technique": "evasion"}
    return json.dumps({"event": kind, "time": stamp(at), "verdict": verdict}) + "\n"


def test_attacks_count_once_if_they_were_acted_on(tmp_path: Path) -> None:
    log = tmp_path / "events.jsonl"
    (tmp_path / "events.jsonl.1").write_text(event("verdict.new", 900, "old") + event("verdict.new", 1500, "a"))
    log.write_text(
        event("verdict.reached", 1600, "a")
        + event("verdict.new", 1700, "watched", step="observe")
        + event("verdict.new", 1700, "shadow", mode="shadow")
        + event("verdict.new", 1700, "another", model="n")
        + event("verdict.new", 1700, "wrong")
        + event("verdict.released", 1800, "wrong")
        + event("verdict.lowered", 1800, "old", step="slow")
        + event("verdict.new", 1900, "b", step="slow")
        + json.dumps({"event": "proxy.started", "time": stamp(1901)})
        + '\n{"event": "verdict.new", "ti'
    )
    assert confirmed_attacks(log, "m", 1000) == 2
    assert confirmed_attacks(log, "m", None) == 3
    with pytest.raises(ScheduleError, match="there is no such audit log"):
        confirmed_attacks(tmp_path / "no", "m", None)


def test_conditions() -> None:
    when = When.parse("attacks>=5, days>=7")
    assert when == When(5, 7)
    assert when.unmet(10 * DAY, 2 * DAY, 5) == []
    assert when.unmet(10 * DAY, None, 5) == []
    (attacks,) = when.unmet(10 * DAY, 2 * DAY, 4)
    assert attacks == "4 attacks were confirmed since the last success, and 5 are needed."
    (days,) = when.unmet(10 * DAY, 4 * DAY, 9)
    assert days == "the last success was 6.0 days ago, and 7 must lie between."
    for wrong in ("", "attacks>5", "attacks>=1.5", "days>=1,days>=2", "weeks>=1"):
        with pytest.raises(ScheduleError, match="attacks>=WHOLE NUMBER"):
            When.parse(wrong)


def test_successes_are_kept_by_model(tmp_path: Path) -> None:
    file = tmp_path / "retraining.prom"
    odd = 'a"b\\n\nc'
    assert last_success(file, odd) is None
    note_success(file, odd, 1000.5)
    note_success(file, "m", 2000)
    assert (last_success(file, odd), last_success(file, "m"), last_success(file, "n")) == (1000.5, 2000, None)


class _Gateway(BaseHTTPRequestHandler):
    """Takes pushes as a Pushgateway does; `got` has path and text of each."""

    got: ClassVar[list[tuple[str, str]]] = []
    answers: ClassVar[int] = 200

    def do_POST(self) -> None:
        self.got.append((self.path, self.rfile.read(int(self.headers["Content-Length"])).decode()))
        self.send_response(self.answers)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Quietly."""


def test_a_success_is_pushed(monkeypatch: pytest.MonkeyPatch) -> None:
    from prometheus_client.parser import text_string_to_metric_families

    with HTTPServer(("127.0.0.1", 0), _Gateway) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        gateway = f"http://127.0.0.1:{server.server_port}"
        push_success(gateway, "m", 1000.5)
        monkeypatch.setattr(_Gateway, "answers", 400)
        with pytest.raises(ScheduleError, match=f"the Pushgateway {gateway} did not take it: .*400"):
            push_success(gateway, "m", 1000.5)
        server.shutdown()
    (path, text), _ = _Gateway.got
    assert path == "/metrics/job/retraining/model/m"
    (family,) = text_string_to_metric_families(text)
    assert (family.name, family.documentation) == (METRIC, PUSHED[METRIC][1])
    assert [(each.labels, each.value) for each in family.samples] == [({"model": "m"}, 1000.5)]
    with pytest.raises(ScheduleError, match="did not take it"):
        push_success(gateway, "m", 1000.5)


def test_prometheus_reads_it() -> None:
    from prometheus_client.parser import text_string_to_metric_families

    (family,) = text_string_to_metric_families(exposition({'a"b\\n\nc': 1.5}))
    assert (family.name, family.type) == ("tensorwall_retraining_last_success_timestamp_seconds", "gauge")
    assert family.documentation == PUSHED[family.name][1]
    assert [(each.labels, each.value) for each in family.samples] == [({"model": 'a"b\\n\nc'}, 1.5)]
