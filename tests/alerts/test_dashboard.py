"""The dashboard: as generated, of metrics that exist, of queries that a real Prometheus takes."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from proxy.metrics import CATALOGUE, PUSHED
from tests.alerts.prometheus import prometheus
from tests.alerts.rules import ROOT, alerts, metrics
from tests.alerts.test_rules import exported

FOLDER = ROOT / "deploy" / "grafana"
DASHBOARD: dict[str, Any] = json.loads((FOLDER / "tensorwall.json").read_text())
OF_THE_SCRAPE = {"job", "instance", "alertname", "alertstate", "severity", "le"}


def panels() -> list[dict[str, Any]]:
    return [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]


def queries() -> Iterator[tuple[str, str]]:
    """Each with the title of its panel."""
    for panel in panels():
        for target in panel["targets"]:
            yield panel["title"], target["expr"]
    for note in DASHBOARD["annotations"]["list"]:
        yield note["name"], note["expr"]


def test_the_file_is_what_the_code_writes() -> None:
    command = [sys.executable, str(FOLDER / "generate.py")]
    written = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout
    assert (FOLDER / "tensorwall.json").read_text() == written, "run python deploy/grafana/generate.py"


def test_every_query_is_of_metrics_and_labels_that_are_exported() -> None:
    names = exported()
    for title, query in queries():
        used = metrics(query)
        assert used <= names, f"{title}: {used - names}"
        labels = set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)\s*\"", query))
        labels |= {label.strip() for by in re.findall(r"by \(([^)]*)\)", query) for label in by.split(",")} - {""}
        known = {label for name in used for label in labels_of(name)} | OF_THE_SCRAPE
        assert labels <= known, f"{title}: {labels - known}"
    for variable in DASHBOARD["templating"]["list"][1:]:
        metric, label = re.fullmatch(r"label_values\((\w+).*, (\w+)\)", variable["definition"]).groups()  # type: ignore[union-attr]
        assert metric in names
        assert label in {*labels_of(metric), *OF_THE_SCRAPE}


def labels_of(name: str) -> tuple[str, ...]:
    """Of a metric as the exposition spells it."""
    for known, (_, _, labels) in {**CATALOGUE, **PUSHED}.items():
        if re.fullmatch(rf"{known}(_total|_bucket|_sum|_count)?", name):
            return labels
    return ()


def test_whatever_an_alert_reads_can_be_looked_at() -> None:
    shown = {name for _, query in queries() for name in metrics(query)}
    read = {name for rule in alerts().values() for name in metrics(rule["expr"])}
    assert read - shown <= {"tensorwall_profile_learned", "up"}, "profiles in force are shown by name"


def test_panels_have_places_of_their_own_and_the_two_variables() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken, panel["title"]
        assert at["x"] + at["w"] <= 24
        taken |= cells
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])
    templated = [query for _, query in queries() if "$instance" in query or "$model" in query]
    assert len(templated) > 60


def test_every_query_parses_in_a_real_prometheus(tmp_path: Path) -> None:
    with prometheus(tmp_path, []) as server:
        for _, query in queries():
            server.query(filled(query))
        server.query(filled('count(tensorwall_verdicts{model=~"$model"})'))


def filled(query: str, interval: str = "1m") -> str:
    """As Grafana sends it."""
    for name, value in (("$__rate_interval", interval), ("$instance", ".*"), ("$model", ".*")):
        query = query.replace(name, value)
    assert "$" not in query, query
    return query
