"""What an operator's monitoring gets to know of an attack, and what it knows before there is one."""

import json
import re
import time
import urllib.request
from pathlib import Path

import grpc
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from tests.detection.test_over_the_wire import ROWS, Detecting, ask, detecting, refusal, until, verdicts
from tests.processes import admin_page
from tests.protection.conftest import Protect, Protected
from tests.protection.toy import X

__all__ = ["detecting"]


def openmetrics(protected: Protected) -> str:
    request = urllib.request.Request(
        f"http://{protected.proxy.admin}/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"}
    )
    with urllib.request.urlopen(request, timeout=5) as page:
        text: str = page.read().decode()
    return text


def test_what_is_known_is_zero_before_anything_happens(detecting: Detecting) -> None:
    protected = detecting()
    samples = {
        (sample.name, *(sample.labels[label] for label in sorted(sample.labels))): sample.value
        for family in text_string_to_metric_families(openmetrics(protected))  # type: ignore[no-untyped-call]
        for sample in family.samples
    }
    for series in (
        ("attacks_total", "enforce", "toy", "block", "caller", "extraction"),
        ("last_attack_timestamp_seconds", "toy", "inversion"),
        ("verdicts", "shadow", "toy", "coarsen", "cluster", "evasion"),
        ("callers", "enforce", "toy", "block"),
        ("handled_rows_total", "toy", "limited"),
        ("unobserved_rows_total", "toy", "queue"),
        ("verdict_calls_total", "refused", "toy"),
        ("extraction_progress", "toy"),
        ("detection_surprise_count", "search_progress", "toy", "membership"),
        ("detector_failures_total", "hardness", "toy"),
    ):
        assert samples[f"tensorwall_{series[0]}", *series[1:]] == 0, series
    protected.proxy.process.wait_until(
        lambda: protected.count("tensorwall_detector_up") == 7, "told of six of ours and one of the operator's own"
    )
    assert protected.count("tensorwall_profile_learned", mode="enforce") == 1
    assert protected.count("tensorwall_config_last_reload_successful") == 1
    assert re.search(r'tensorwall_config_info\{hash="[0-9a-f]{12}"\} 1\.0', openmetrics(protected))


def test_an_attack_shows_with_the_ids_of_its_event_and_its_verdict(detecting: Detecting) -> None:
    protected = detecting()
    began = time.time()
    ask(protected, ROWS[:20])
    verdict = until(protected, len)[0]
    refusal(protected)
    events = json.loads(admin_page(protected.proxy.admin, "/api/v1/events"))["events"]
    (event,) = [each["id"] for each in events if each["event"] == "verdict.new"]
    page = openmetrics(protected)
    sample = re.search(r"tensorwall_attacks_total\{[^}]*\} 1\.0 # \{([^}]*)\} 1\.0", page)
    assert sample is not None
    assert sample[1] == f'event_id="{event}",verdict_id="{verdict["id"]}"'
    assert f'tensorwall_events_total{{event="verdict.new"}} 1.0 # {{event_id="{event}"}}' in page
    assert protected.count("tensorwall_attacks_total") == 1, "other series stay at 0"
    assert protected.count("tensorwall_callers", step="block", mode="enforce") == 1
    assert protected.count("tensorwall_callers") == 1
    last = protected.count("tensorwall_last_attack_timestamp_seconds", technique="extraction")
    assert began <= last <= time.time()
    assert protected.count("tensorwall_handled_rows_total", outcome="admitted") == 20
    assert protected.count("tensorwall_handled_rows_total", outcome="refused") == len(X)


def test_rows_of_a_coarsened_caller_are_counted_as_such(detecting: Detecting) -> None:
    protected = detecting("silent", most=0)
    ask(protected, ROWS[:1])
    until(protected, len)
    ask(protected, ROWS[10:15])
    ask(protected, ROWS[10:13], "10.9.9.9")
    assert protected.count("tensorwall_handled_rows_total", outcome="coarsened") == 5
    assert protected.count("tensorwall_handled_rows_total", outcome="admitted") == 4


def test_who_is_under_two_verdicts_is_one_caller(detecting: Detecting) -> None:
    own = [
        {"path": "tests.detection.own:Rows", "settings": {"most": 10, "technique": each, "decades": decades}}
        for each, decades in (("extraction", 3), ("evasion", 9))
    ]
    protected = detecting(own=own)
    ask(protected, ROWS[:20])
    until(protected, lambda found: len(found) == 2)
    assert len(verdicts(protected)) == 2
    assert protected.count("tensorwall_callers") == protected.count("tensorwall_callers", step="block") == 1


def test_a_detector_that_is_left_out_is_down(detecting: Detecting) -> None:
    protected = detecting(own=[{"path": "tests.detection.own:Broken"}])
    protected.proxy.process.wait_until(
        lambda: protected.count("tensorwall_detector_up", detector="broken") == 1, "told of it"
    )
    ask(protected, ROWS[:20])
    protected.proxy.process.wait_until(
        lambda: protected.count("tensorwall_detector_failures_total", detector="broken") == 1, "without it"
    )
    assert protected.count("tensorwall_detector_up") == 6


def test_rows_that_a_limit_refuses_are_limited(protect: Protect) -> None:
    protected = protect({"limits": [{"by": "caller", "rate": "1/h", "burst": 5}]})
    ask(protected, ROWS[:5])
    assert refusal(protected).code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert protected.count("tensorwall_handled_rows_total", outcome="limited") == len(X)
    assert protected.count("tensorwall_handled_rows_total", outcome="admitted") == 5


def test_a_configuration_that_is_refused_shows_until_one_is_taken(protect: Protect, tmp_path: Path) -> None:
    protected = protect({})
    path = tmp_path / "1" / "tensorwall.yaml"
    good = path.read_text()
    path.write_text("upstream: 5\n")
    wait = protected.proxy.process.wait_until
    wait(lambda: protected.count("tensorwall_config_last_reload_successful") == 0, "refusing")
    path.write_text(good + "\nbounds: {calls_in_flight: 7}\n")
    wait(lambda: protected.count("tensorwall_config_last_reload_successful") == 1, "taking it")
    assert len(re.findall(r"tensorwall_config_info\{", openmetrics(protected))) == 1, "the old hash is gone"
