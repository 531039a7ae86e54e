"""The alert rules in promtool: on series made by hand, and on those that a real attack left."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from proxy.metrics import CATALOGUE, PUSHED
from tests.alerts.prometheus import promtool
from tests.alerts.record import OUT
from tests.alerts.rules import ROOT, RULES, alerts, metrics

CASES = RULES.with_name("tensorwall.test.yml")
STEP = 15
"""Seconds that one second of the recording stands for."""
FIRING = 'max by (alertname) (ALERTS{alertstate="firing"})'


def exported() -> set[str]:
    """Every name as the exposition spells it."""
    names = {"up", *PUSHED}
    for name, (kind, _, _) in CATALOGUE.items():
        suffixes = {"counter": ["_total"], "histogram": ["_bucket", "_sum", "_count"]}.get(kind, [""])
        names |= {name + suffix for suffix in suffixes}
    return names


def test_the_rules_are_valid() -> None:
    promtool("check", "rules", str(RULES))


@pytest.mark.parametrize("name", alerts())
def test_every_rule_says_what_on_call_needs(name: str) -> None:
    rule = alerts()[name]
    labels, notes = rule["labels"], rule["annotations"]
    assert re.fullmatch(r"Tensorwall([A-Z][a-z]+)+", name)
    assert labels["severity"] in ("critical", "warning", "info")
    assert re.fullmatch(r"AML\.[TM]\d{4}(\.\d{3})?", labels["atlas"])
    assert re.fullmatch(r"ML\d\d|AISVS \d+\.\d+\.\d+", labels["owasp"])
    assert set(notes) == {"summary", "description", "false_alarm", "runbook_url"}
    assert len(notes["summary"]) < 120
    assert metrics(rule["expr"]) <= exported(), "every metric is exported"
    assert not re.search(r"by \([^)]*\b(caller|group)\b", rule["expr"])


def test_every_rule_has_its_runbook() -> None:
    for name, rule in alerts().items():
        page, _, anchor = rule["annotations"]["runbook_url"].partition("#")
        sections = re.split(r"^## ", (ROOT / page).read_text(), flags=re.MULTILINE)[1:]
        own = [section for section in sections if section.splitlines()[0] == name]
        assert len(own) == 1, f"{page} has one section {name}"
        assert anchor == name.lower(), "GitHub's anchor of the heading"
        for part in ("What it means", "How to check", "What to do", "How to undo", "When it is a false alarm"):
            assert f"**{part}.**" in own[0], f"{name}: {part}"
    headings = re.findall(r"^## (Tensorwall\w+)", (ROOT / "docs" / "runbooks.md").read_text(), flags=re.MULTILINE)
    assert set(headings) == set(alerts()), "no section is about an alert that is gone"


def test_every_rule_fires_and_is_silent_when_it_should() -> None:
    promtool("test", "rules", str(CASES))
    cases: list[dict[str, Any]] = yaml.safe_load(CASES.read_text())["tests"]
    for name in alerts():
        own = [case for case in cases if case["name"].split(":")[0] == name]
        fires = [
            [name in str(step["exp_samples"]) for step in case["promql_expr_test"]]
            for case in own
            if all(step["expr"] == FIRING for step in case["promql_expr_test"])
        ]
        assert any(True in case and case[0] is False for case in fires), f"{name} is silent first, then fires"
        if name != "TensorwallDown":
            assert any(True in case and case[-1] is False for case in fires), f"{name} resolves"


def test_a_recorded_attack_fires_its_alerts_and_nothing_else(tmp_path: Path) -> None:
    recorded = json.loads(OUT.read_text())
    marks, end = recorded["marks"], recorded["seconds"] - 1
    attacks = {f"Tensorwall{each}{mode}" for each in ("Evasion", "Extraction") for mode in ("", "Shadow")}

    def fired(begin: int, until: int) -> str:
        return f'max by (alertname) (max_over_time(ALERTS{{alertstate="firing"}}[{(until - begin) * STEP}s]))'

    def at(second: int, query: str, *names: str) -> dict[str, Any]:
        samples = [{"labels": f'{{alertname="{name}"}}', "value": 1} for name in sorted(names)]
        return {"expr": query, "eval_time": f"{second * STEP}s", "exp_samples": samples}

    begin, over = marks["knockoff"], marks["over"]
    steps = [
        at(begin, fired(0, begin)),
        at(over, fired(begin, over), *attacks, "TensorwallCallersBlocked"),
        at(marks["config wrong"], FIRING),
        at(marks["config right"] - 1, FIRING, "TensorwallConfigReloadFailed"),
        at(marks["upstream down"], FIRING),
        at(marks["upstream down"] + 18, FIRING, "TensorwallUpstreamDown", "TensorwallNotReady"),
        at(marks["upstream up"], FIRING, "TensorwallUpstreamDown", "TensorwallErrorRatio"),
        at(end, FIRING),
    ]
    series = [{"series": name, "values": values} for name, values in recorded["series"].items()]
    test = {"name": "recorded", "interval": f"{STEP}s", "input_series": series, "promql_expr_test": steps}
    path = tmp_path / "recorded.test.yml"
    made = {"rule_files": [str(RULES)], "evaluation_interval": f"{STEP}s", "tests": [test]}
    path.write_text(yaml.safe_dump(made, sort_keys=False))
    promtool("test", "rules", str(path))
