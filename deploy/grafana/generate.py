"""Makes the dashboard of panels.yaml: `python deploy/grafana/generate.py > deploy/grafana/tensorwall.json`."""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import yaml

SOURCE = {"type": "prometheus", "uid": "${datasource}"}
WIDTH = 24
SHORT = {
    "MODEL": 'instance=~"$instance", model=~"$model"',
    "INSTANCE": 'instance=~"$instance"',
    "RATE": "$__rate_interval",
}

Panel = dict[str, Any]


def graph(spec: Panel) -> Panel:
    """Lines over time."""
    stacked = spec.get("stacked", False)
    custom: dict[str, Any] = {"fillOpacity": 20 if stacked else 5, "showPoints": "never", "lineWidth": 1}
    if stacked:
        custom["stacking"] = {"mode": "normal", "group": "A"}
    exemplar = "attacks_total" in next(iter(spec["queries"].values()))
    return {
        "type": "timeseries",
        "targets": _targets(spec["queries"].items(), exemplar=exemplar),
        "fieldConfig": {"defaults": {"unit": spec["unit"], "min": 0, "custom": custom}, "overrides": []},
        "options": {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi"}},
    }


def stat(spec: Panel) -> Panel:
    """One number now; red from a value on, or below one."""
    steps: list[dict[str, Any]] = [{"color": "green", "value": None}]
    if "bad_from" in spec:
        steps.append({"color": "red", "value": spec["bad_from"]})
    if "bad_below" in spec:
        steps = [{"color": "red", "value": None}, {"color": "green", "value": spec["bad_below"]}]
    thresholds = {"mode": "absolute", "steps": steps}
    return {
        "type": "stat",
        "targets": _targets([("", spec["query"])], instant=True),
        "fieldConfig": {
            "defaults": {"unit": spec["unit"], "thresholds": thresholds, "noValue": "none"},
            "overrides": [],
        },
        "options": {"colorMode": "value", "graphMode": "none", "reduceOptions": {"calcs": ["lastNotNull"]}},
    }


def heatmap(spec: Panel) -> Panel:
    """How a histogram's values are spread, over time."""
    return {
        "type": "heatmap",
        "targets": _targets([("{{le}}", spec["query"])], format="heatmap"),
        "fieldConfig": {"defaults": {}, "overrides": []},
        "options": {"calculate": False, "color": {"mode": "scheme", "scheme": "Oranges"}, "yAxis": {"unit": "short"}},
    }


def table(spec: Panel) -> Panel:
    """Labels and values now."""
    hidden = {"excludeByName": {"Time": True, "job": True, "__name__": True}}
    return {
        "type": "table",
        "targets": _targets([("", spec["query"])], instant=True, format="table"),
        "fieldConfig": {"defaults": {}, "overrides": []},
        "options": {"showHeader": True},
        "transformations": [{"id": "organize", "options": hidden}],
    }


KINDS = {"graph": (graph, 8, 8), "stat": (stat, 4, 4), "heatmap": (heatmap, 8, 8), "table": (table, 8, 8)}
"""What makes each kind of panel, its width and its height."""


def _targets(queries: Iterable[tuple[str, str]], **more: Any) -> list[dict[str, Any]]:
    return [
        {"refId": chr(ord("A") + at), "datasource": SOURCE, "expr": _whole(query), "legendFormat": name, **more}
        for at, (name, query) in enumerate(queries)
    ]


def _whole(query: str) -> str:
    for short, meant in SHORT.items():
        query = query.replace(short, meant)
    return query


def panels(rows: list[dict[str, Any]]) -> Iterator[Panel]:
    """All of them with their places."""
    top = 0
    for row in rows:
        at = {"x": 0, "y": top, "w": WIDTH, "h": 1}
        yield {"type": "row", "title": row["row"], "collapsed": False, "gridPos": at, "panels": []}
        left, top, height = 0, top + 1, 0
        for spec in row["panels"]:
            kind = next(iter(spec))
            make, width, own_height = KINDS[kind]
            if left + width > WIDTH or (height and own_height != height):
                left, top, height = 0, top + height, 0
            place = {"x": left, "y": top, "w": width, "h": own_height}
            said = {"title": spec[kind], "description": spec.get("says", "")}
            yield said | make(spec) | {"datasource": SOURCE, "gridPos": place}
            left, height = left + width, own_height
        top += height


def variable(name: str, query: str) -> dict[str, Any]:
    """One that the viewer chooses, several at once, all at first."""
    return {
        "name": name,
        "type": "query",
        "datasource": SOURCE,
        "query": {"query": query, "refId": name},
        "definition": query,
        "refresh": 2,
        "sort": 1,
        "multi": True,
        "includeAll": True,
        "allValue": ".*",
        "current": {"selected": True, "text": ["All"], "value": ["$__all"]},
    }


def dashboard() -> dict[str, Any]:
    """The whole of it."""
    rows = yaml.safe_load(Path(__file__).with_name("panels.yaml").read_text(encoding="utf-8"))
    source = {"name": "datasource", "type": "datasource", "query": "prometheus", "current": {}, "label": "Prometheus"}
    return {
        "uid": "tensorwall",
        "title": "tensorwall",
        "tags": ["tensorwall"],
        "schemaVersion": 38,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": {"from": "now-3h", "to": "now"},
        "timezone": "browser",
        "annotations": {"list": [_fired()]},
        "templating": {
            "list": [
                source,
                variable("instance", "label_values(tensorwall_build_info, instance)"),
                variable("model", 'label_values(tensorwall_calls_total{instance=~"$instance"}, model)'),
            ]
        },
        "panels": [{"id": number, **panel} for number, panel in enumerate(panels(rows), 1)],
    }


def _fired() -> dict[str, Any]:
    return {
        "name": "Alerts",
        "datasource": SOURCE,
        "enable": True,
        "iconColor": "red",
        "expr": 'ALERTS{alertname=~"Tensorwall.+", alertstate="firing", severity!="info"}',
        "titleFormat": "{{alertname}}",
        "textFormat": "{{model}} {{instance}}",
    }


if __name__ == "__main__":
    print(json.dumps(dashboard(), indent=1))
