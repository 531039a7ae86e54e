"""The dashboard, written as code: `python deploy/grafana/generate.py > deploy/grafana/tensorwall.json`."""

import json
from typing import Any

MODEL = 'instance=~"$instance", model=~"$model"'
INSTANCE = 'instance=~"$instance"'
RATE = "[$__rate_interval]"
SOURCE = {"type": "prometheus", "uid": "${datasource}"}
WIDTH = 24

Panel = dict[str, Any]


def rate(metric: str, by: str, more: str = "", where: str = MODEL) -> str:
    """A counter's increase a second, added up."""
    return f"sum by ({by}) (rate({metric}{{{_and(where, more)}}}{RATE}))"


def total(metric: str, by: str, more: str = "", where: str = MODEL) -> str:
    """A gauge, added up."""
    return f"sum by ({by}) ({metric}{{{_and(where, more)}}})"


def quantile(share: float, metric: str, by: str = "", more: str = "", where: str = MODEL) -> str:
    """Of a histogram."""
    labels = f"le, {by}" if by else "le"
    return f"histogram_quantile({share}, sum by ({labels}) (rate({metric}_bucket{{{_and(where, more)}}}{RATE})))"


def _and(*parts: str) -> str:
    return ", ".join(part for part in parts if part)


def graph(
    title: str, unit: str, *queries: tuple[str, str], stacked: bool = False, width: int = 8, says: str = ""
) -> Panel:
    """Lines over time; each query with what its lines are called."""
    custom: dict[str, Any] = {"fillOpacity": 20 if stacked else 5, "showPoints": "never", "lineWidth": 1}
    if stacked:
        custom["stacking"] = {"mode": "normal", "group": "A"}
    return {
        "type": "timeseries",
        "title": title,
        "description": says,
        "size": (width, 8),
        "targets": _targets(queries, exemplar="attacks_total" in queries[0][0]),
        "fieldConfig": {"defaults": {"unit": unit, "min": 0, "custom": custom}, "overrides": []},
        "options": {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi"}},
    }


def stat(title: str, unit: str, query: str, *, bad_from: float | None = None, bad_below: float | None = None) -> Panel:
    """One number now; red from a value on, or below one."""
    steps: list[dict[str, Any]] = [{"color": "green", "value": None}]
    if bad_from is not None:
        steps.append({"color": "red", "value": bad_from})
    if bad_below is not None:
        steps = [{"color": "red", "value": None}, {"color": "green", "value": bad_below}]
    return {
        "type": "stat",
        "title": title,
        "description": "",
        "size": (4, 4),
        "targets": _targets([(query, "")], instant=True),
        "fieldConfig": {
            "defaults": {"unit": unit, "thresholds": {"mode": "absolute", "steps": steps}, "noValue": "none"},
            "overrides": [],
        },
        "options": {"colorMode": "value", "graphMode": "none", "reduceOptions": {"calcs": ["lastNotNull"]}},
    }


def heatmap(title: str, metric: str, says: str) -> Panel:
    """How a histogram's values are spread, over time."""
    query = f"sum by (le) (increase({metric}_bucket{{{MODEL}}}{RATE}))"
    return {
        "type": "heatmap",
        "title": title,
        "description": says,
        "size": (8, 8),
        "targets": _targets([(query, "{{le}}")], format="heatmap"),
        "fieldConfig": {"defaults": {}, "overrides": []},
        "options": {"calculate": False, "color": {"mode": "scheme", "scheme": "Oranges"}, "yAxis": {"unit": "short"}},
    }


def table(title: str, query: str, width: int = 8) -> Panel:
    """Labels and values now."""
    return {
        "type": "table",
        "title": title,
        "description": "",
        "size": (width, 8),
        "targets": _targets([(query, "")], instant=True, format="table"),
        "fieldConfig": {"defaults": {}, "overrides": []},
        "options": {"showHeader": True},
        "transformations": [
            {"id": "organize", "options": {"excludeByName": {"Time": True, "job": True, "__name__": True}}}
        ],
    }


def _targets(queries: Any, **more: Any) -> list[dict[str, Any]]:
    return [
        {"refId": chr(ord("A") + at), "datasource": SOURCE, "expr": query, "legendFormat": name, **more}
        for at, (query, name) in enumerate(queries)
    ]


def rows() -> list[tuple[str, list[Panel]]]:
    """What is shown, the most urgent first."""
    return [
        ("Is something happening", happening()),
        ("Who is acted on", acted_on()),
        ("Traffic and latency", traffic()),
        ("Detection health", detection()),
        ("Limits and protection", protection()),
        ("Store, upstream, configuration", machinery()),
        ("Events and capture", records()),
    ]


def happening() -> list[Panel]:
    """Attacks."""
    acting = 'step!="observe"'
    callers = 'subject="caller"'
    return [
        stat(
            "Alerts firing",
            "short",
            'count(ALERTS{alertname=~"Tensorwall.+", alertstate="firing"}) or vector(0)',
            bad_from=1,
        ),
        stat(
            "Verdicts that act",
            "short",
            f'sum(tensorwall_verdicts{{{MODEL}, {acting}, mode="enforce"}})',
            bad_from=1,
        ),
        stat("Verdicts in shadow", "short", f'sum(tensorwall_verdicts{{{MODEL}, {acting}, mode="shadow"}})'),
        stat(
            "Callers blocked", "short", f'sum(tensorwall_callers{{{MODEL}, step="block", mode="enforce"}})', bad_from=1
        ),
        stat(
            "Since the last attack",
            "s",
            f"time() - max(tensorwall_last_attack_timestamp_seconds{{{MODEL}}} > 0)",
        ),
        stat(
            "Extraction progress, highest",
            "percentunit",
            f"max(tensorwall_extraction_progress{{{MODEL}}})",
            bad_from=0.8,
        ),
        graph(
            "Callers that reached a step, by technique",
            "short",
            (
                f"sum by (technique, step, mode) (increase(tensorwall_attacks_total{{{MODEL}, {callers}}}{RATE}))",
                "{{technique}}, {{step}} ({{mode}})",
            ),
            says="Points are exemplars: verdict_id leads to /verdicts and to the log.",
        ),
        graph(
            "Verdicts that stand, by technique",
            "short",
            (total("tensorwall_verdicts", "technique, mode", acting), "{{technique}} ({{mode}})"),
            stacked=True,
        ),
        graph(
            "Extraction progress",
            "percentunit",
            (f"max by (model) (tensorwall_extraction_progress{{{MODEL}}})", "{{model}}"),
            says="Share of the next rows that a copy made of one caller's answers foretells. It does not fall.",
        ),
    ]


def acted_on() -> list[Panel]:
    """Callers and their rows."""
    return [
        graph(
            "Callers by step",
            "short",
            (total("tensorwall_callers", "step, mode"), "{{step}} ({{mode}})"),
            stacked=True,
            says="Who they are: /verdicts, or tensorwall callers list.",
        ),
        graph("Verdicts by subject", "short", (total("tensorwall_verdicts", "subject, step"), "{{subject}}, {{step}}")),
        graph(
            "Rows by what became of them",
            "rowsps",
            (rate("tensorwall_handled_rows_total", "outcome"), "{{outcome}}"),
            stacked=True,
        ),
        graph(
            "Calls that a verdict acted on", "reqps", (rate("tensorwall_verdict_calls_total", "action"), "{{action}}")
        ),
        graph(
            "Rows answered like an earlier near row",
            "rowsps",
            (rate("tensorwall_verdict_rows_total", "model"), "{{model}}"),
        ),
        graph(
            "Verdicts forgotten before their time",
            "short",
            (rate("tensorwall_verdicts_evicted_total", "instance", where=INSTANCE), "{{instance}}"),
        ),
    ]


def traffic() -> list[Panel]:
    """Calls."""
    return [
        graph("Calls by code", "reqps", (rate("tensorwall_calls_total", "code"), "{{code}}"), stacked=True),
        graph("Rows by model", "rowsps", (rate("tensorwall_rows_total", "model"), "{{model}}"), stacked=True),
        graph(
            "Calls in flight",
            "short",
            (total("tensorwall_calls_in_flight", "instance", where=INSTANCE), "{{instance}}"),
        ),
        graph(
            "The proxy's part of the latency",
            "s",
            (quantile(0.5, "tensorwall_proxy_seconds"), "median"),
            (quantile(0.99, "tensorwall_proxy_seconds"), "99 %"),
        ),
        graph(
            "The upstream's part",
            "s",
            (quantile(0.5, "tensorwall_upstream_seconds"), "median"),
            (quantile(0.99, "tensorwall_upstream_seconds"), "99 %"),
        ),
        graph(
            "Bytes",
            "Bps",
            (rate("tensorwall_request_bytes_total", "model"), "to {{model}}"),
            (rate("tensorwall_reply_bytes_total", "model"), "from {{model}}"),
        ),
    ]


def detection() -> list[Panel]:
    """Whether the detectors see everything, and what they make of it."""
    missed = rate("tensorwall_unobserved_rows_total", "reason")
    return [
        heatmap(
            "Detectors' scores",
            "tensorwall_detection_surprise",
            "Decades of surprise of each finding: 3 is one benign caller in a thousand.",
        ),
        graph(
            "Findings by detector",
            "short",
            (rate("tensorwall_detection_surprise_count", "detector, technique"), "{{detector}}: {{technique}}"),
        ),
        graph(
            "Rows not observed",
            "rowsps",
            (missed, "{{reason}}"),
            (rate("tensorwall_observed_rows_total", ""), "observed"),
        ),
        graph(
            "Rows that wait for the detectors",
            "short",
            (total("tensorwall_observation_queue_rows", "instance", where=INSTANCE), "{{instance}}"),
        ),
        graph(
            "Time, 99 %",
            "s",
            (quantile(0.99, "tensorwall_observation_seconds", "model"), "of a call, in being observed: {{model}}"),
            (quantile(0.99, "tensorwall_detection_seconds", "model"), "of the detectors, a batch: {{model}}"),
        ),
        graph(
            "What detectors keep",
            "short",
            (total("tensorwall_detector_tracked", "detector, kind"), "{{detector}}: {{kind}}"),
        ),
        graph(
            "What detectors forgot",
            "short",
            (rate("tensorwall_detector_dropped_total", "detector, kind"), "{{detector}}: {{kind}}"),
        ),
        table("Detectors left out", f"tensorwall_detector_up{{{MODEL}}} == 0"),
        table("Profiles in force", f"tensorwall_profile_info{{{MODEL}}}"),
    ]


def protection() -> list[Panel]:
    """Rules."""
    return [
        graph(
            "Limits: calls over and near",
            "reqps",
            (
                rate("tensorwall_limit_decisions_total", "limit, by, mode, outcome", 'outcome!="within"'),
                "{{limit}} by {{by}}: {{outcome}} ({{mode}})",
            ),
        ),
        graph(
            "Calls refused, by reason",
            "reqps",
            (rate("tensorwall_refusals_total", "reason"), "{{reason}}"),
            stacked=True,
        ),
        graph(
            "Rows changed by rules",
            "rowsps",
            (rate("tensorwall_input_rows_total", "input, mode", 'outcome="changed"'), "input {{input}} ({{mode}})"),
            (rate("tensorwall_answer_rows_total", "output, mode", 'outcome="changed"'), "output {{output}} ({{mode}})"),
        ),
        heatmap(
            "Squeezing: disagreement",
            "tensorwall_squeezing_disagreement",
            "L1 distance that squeezing an input moved its answer.",
        ),
        graph(
            "Squeezing: rows above the threshold, calls not scored",
            "short",
            (rate("tensorwall_squeezing_rows_total", "model, mode", 'outcome="above"'), "{{model}} above ({{mode}})"),
            (rate("tensorwall_squeezing_skipped_total", "reason"), "not scored: {{reason}}"),
        ),
        graph("Time in defenses, 99 %", "s", (quantile(0.99, "tensorwall_defense_seconds", "stage"), "{{stage}}")),
        graph(
            "What rules refused or did not fit",
            "reqps",
            (rate("tensorwall_input_refusals_total", "input, mode"), "input {{input}} ({{mode}})"),
            (rate("tensorwall_answer_mismatches_total", "output, mode"), "output {{output}} does not fit ({{mode}})"),
            (rate("tensorwall_purifier_calls_total", "outcome"), "purifier: {{outcome}}"),
        ),
        table("Rules that contradict a model's signatures", f"tensorwall_protection_problems{{{MODEL}}} > 0"),
        graph(
            "Requests that are no message",
            "reqps",
            (rate("tensorwall_unparsable_requests_total", "instance", where=INSTANCE), "{{instance}}"),
        ),
    ]


def machinery() -> list[Panel]:
    """What the proxy depends on, and what it runs with."""
    hardened = 'time() - max by (model) (tensorwall_retraining_last_success_timestamp_seconds{model=~"$model"})'
    return [
        stat("Proxies ready", "short", f"sum(tensorwall_ready{{{INSTANCE}}})", bad_below=1),
        stat(
            "Store",
            "short",
            f"min(tensorwall_store_up{{{INSTANCE}}}) * min(tensorwall_observation_log_up{{{INSTANCE}}})",
            bad_below=1,
        ),
        stat(
            "Model servers down", "short", f"count(tensorwall_upstream_up{{{INSTANCE}}} == 0) or vector(0)", bad_from=1
        ),
        stat("Last reload", "short", f"min(tensorwall_config_last_reload_successful{{{INSTANCE}}})", bad_below=1),
        stat("Files", "short", f"min(tensorwall_file_usable{{{INSTANCE}}})", bad_below=1),
        stat("Since the last hardening", "s", f"max({hardened})", bad_from=30 * 86_400),
        graph(
            "Model servers",
            "short",
            (f"min by (target) (tensorwall_upstream_up{{{INSTANCE}}})", "{{target}}"),
            (rate("tensorwall_upstream_retries_total", "outcome", where=INSTANCE), "tries again: {{outcome}}"),
        ),
        graph(
            "Store",
            "short",
            (rate("tensorwall_store_fallbacks_total", "cause", where=INSTANCE), "decided without it: {{cause}}"),
            (rate("tensorwall_store_evictions_total", "measure", where=INSTANCE), "forgotten: {{measure}}"),
            (rate("tensorwall_store_leases_dropped_total", "instance", where=INSTANCE), "slots left to run out"),
        ),
        table(
            "Seconds until certificates end", f"tensorwall_certificate_expiry_timestamp_seconds{{{INSTANCE}}} - time()"
        ),
        graph("Store's time, 99 %", "s", (quantile(0.99, "tensorwall_store_seconds", where=INSTANCE), "a decision")),
        graph(
            "What the store keeps here",
            "short",
            (total("tensorwall_store_keys", "measure", where=INSTANCE), "{{measure}}"),
            (total("tensorwall_store_leases", "instance", where=INSTANCE), "slots of {{instance}}"),
        ),
        table("Configuration", f"tensorwall_config_info{{{INSTANCE}}}"),
        table("Version", f"tensorwall_build_info{{{INSTANCE}}}"),
        graph(
            "Reloads",
            "short",
            (f"sum by (result) (increase(tensorwall_config_reloads_total{{{INSTANCE}}}{RATE}))", "{{result}}"),
            (rate("tensorwall_model_labels_dropped_total", "instance", where=INSTANCE), "calls of unknown models"),
        ),
        graph("Memory", "bytes", (f'process_resident_memory_bytes{{{INSTANCE}, job="tensorwall"}}', "{{instance}}")),
        graph(
            "CPU",
            "percentunit",
            (f'rate(process_cpu_seconds_total{{{INSTANCE}, job="tensorwall"}}{RATE})', "{{instance}}"),
        ),
    ]


def records() -> list[Panel]:
    """What is written down, here and elsewhere."""
    missed = rate("tensorwall_event_deliveries_total", "outlet, outcome", 'outcome!="delivered"', INSTANCE)
    dropped = rate("tensorwall_capture_dropped_calls_total", "reason")
    return [
        graph(
            "Events by what happened", "short", (rate("tensorwall_events_total", "event", where=INSTANCE), "{{event}}")
        ),
        graph(
            "Events not delivered, and waiting",
            "short",
            (missed, "{{outlet}}: {{outcome}}"),
            (total("tensorwall_events_waiting", "outlet", where=INSTANCE), "{{outlet}}: waiting"),
        ),
        graph("Operators' decisions", "short", (total("tensorwall_decisions", "action", where=INSTANCE), "{{action}}")),
        graph(
            "Rows captured",
            "rowsps",
            (rate("tensorwall_captured_rows_total", "model, marked"), "{{model}}, under a verdict: {{marked}}"),
            (rate("tensorwall_live_rows_total", "model, outcome"), "live window of {{model}}: {{outcome}}"),
        ),
        graph("Calls not captured", "reqps", (dropped, "{{reason}}")),
        graph(
            "Capture: on disk, waiting, failing",
            "bytes",
            (total("tensorwall_capture_disk_bytes", "instance", where=INSTANCE), "on disk: {{instance}}"),
            (total("tensorwall_capture_queue_bytes", "instance", where=INSTANCE), "waiting: {{instance}}"),
            (f"tensorwall_capture_failing{{{INSTANCE}}} == 1", "cannot write: {{instance}}"),
        ),
    ]


def placed() -> list[Panel]:
    """All panels with their places and numbers."""
    panels: list[Panel] = []
    top = 0
    for title, own in rows():
        at = {"x": 0, "y": top, "w": WIDTH, "h": 1}
        panels.append({"type": "row", "title": title, "collapsed": False, "gridPos": at, "panels": []})
        left, top, height = 0, top + 1, 0
        for panel in own:
            width, own_height = panel.pop("size")
            if left + width > WIDTH or (height and own_height != height):
                left, top, height = 0, top + height, 0
            panels.append(
                {**panel, "datasource": SOURCE, "gridPos": {"x": left, "y": top, "w": width, "h": own_height}}
            )
            left, height = left + width, own_height
        top += height
    return [{"id": number, **panel} for number, panel in enumerate(panels, 1)]


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
        "panels": placed(),
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
