"""What a replay found, as a table for people and as JSON for programs."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

from proxy.logs import printable
from proxy.replay.tally import Effect, Rule, Tally

SHOWN = 10
"""Callers of each rule in the table."""
LISTED = 1000
"""The same in JSON."""
_COLUMNS = ("rule", "mode", "calls", "rows", "callers", "marked", "unmarked", "first")
_VERBS = {
    "limit": "limited",
    "observe": "observed",
    "slow": "slowed",
    "coarsen": "coarsened",
    "throttle": "throttled",
    "block": "blocked",
}


def to_json(tally: Tally, problems: Sequence[str], foreign: int) -> dict[str, Any]:
    """Everything, callers of each rule up to LISTED."""
    marked = [party for party in tally.parties.values() if party.marked]
    acted = [party for party in tally.parties.values() if party.acted_on]
    return {
        "calls": tally.calls,
        "rows": tally.rows,
        "callers": len(tally.parties),
        "callers_marked": len(marked),
        "calls_of_untold_callers": tally.untold,
        "from": _time(tally.first),
        "to": _time(tally.last),
        "captured_share": dict(sorted(tally.shares.items())),
        "refused": {"calls": tally.refused_calls, "rows": tally.refused_rows},
        "acted_on": {
            "callers": len(acted),
            "marked": sum(party.marked for party in acted),
            "unmarked": sum(not party.marked for party in acted),
        },
        "marked_not_acted_on": sum(not party.acted_on for party in marked),
        "rules": [_effect(tally, rule, effect) for rule, effect in _ordered(tally)],
        "unread_calls": tally.unread,
        "failed_detectors": tally.failures,
        "foreign_records": foreign,
        "problems": list(problems),
    }


def to_text(report: dict[str, Any], seconds: float) -> str:
    """The same for people. `seconds`: that the replay took."""
    return "\n".join([*_head(report, seconds), "", *_table(report), *_callers(report), "", *_end(report)])


def _head(report: dict[str, Any], seconds: float) -> Iterator[str]:
    yield (
        f"replayed {report['calls']:,} calls, {report['rows']:,} rows of {report['callers']:,} callers, "
        f"{report['from']} to {report['to']}, in {seconds:.1f} s"
    )
    for model, share in report["captured_share"].items():
        if share < 1:
            yield f"{printable(model)}: {share:.0%} of the calls were captured, so that every count below is too low"
    if report["foreign_records"]:
        count = report["foreign_records"]
        yield f"{count:,} records left out: tensorwall did not write them, and they name neither time nor caller"
    if report["unread_calls"]:
        yield f"{report['unread_calls']:,} calls could not be read by detection"
    for detector, problem in report["failed_detectors"].items():
        yield f"detector left out: {detector}: {problem}"


def _table(report: dict[str, Any]) -> Iterator[str]:
    rows = [
        (
            _title(rule),
            rule["mode"],
            f"{rule['calls']:,}",
            f"{rule['rows']:,}",
            f"{rule['callers']:,}",
            f"{rule['callers_marked']:,}",
            f"{rule['callers_unmarked']:,}",
            rule["first"],
        )
        for rule in report["rules"]
    ]
    if not rows:
        yield "nothing would have happened to any call"
        return
    widths = [max(len(row[at]) for row in (_COLUMNS, *rows)) for at in range(len(_COLUMNS))]
    for row in (_COLUMNS, *rows):
        cells = [
            cell.rjust(width) if 2 <= at <= 6 else cell.ljust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        yield "  ".join(cells).rstrip()


def _callers(report: dict[str, Any]) -> Iterator[str]:
    for rule in report["rules"]:
        yield ""
        yield f"{_title(rule)} ({rule['mode']})"
        yield f"  first {rule['first']}: {_why(rule['evidence'])}"
        for each in rule["by_caller"][:SHOWN]:
            marked = "marked" if each["marked"] else "not marked"
            yield f"  {each['caller']}: {each['calls']:,} calls, {each['rows']:,} rows from {each['first']}, {marked}"
        rest = rule["callers"] - min(SHOWN, len(rule["by_caller"]))
        if rest:
            yield f"  and {rest:,} more"


def _end(report: dict[str, Any]) -> Iterator[str]:
    acted = report["acted_on"]
    yield f"refused: {report['refused']['calls']:,} calls, {report['refused']['rows']:,} rows"
    yield (
        f"acted on: {acted['callers']:,} callers; {acted['marked']:,} of them were under a verdict in the recording, "
        f"{acted['unmarked']:,} were not (wrongly acted on, as far as the recording knows)"
    )
    if report["marked_not_acted_on"]:
        yield f"left alone although under a verdict in the recording: {report['marked_not_acted_on']:,} callers"


def _title(rule: dict[str, Any]) -> str:
    of = printable(rule["model"]) or "all models"
    if rule["kind"] == "limit":
        return f"{of}: limit {printable(rule['name'])}, limited"
    silently = ", silently" if rule["answer"] == "silent" and rule["step"] not in ("observe", "slow") else ""
    return f"{of}: {rule['name']}, {_VERBS[rule['step']]}{silently}"


def _why(evidence: dict[str, Any]) -> str:
    if "unit" in evidence:
        by = evidence["by"].replace("_", " ")
        return f"{evidence['cost']:,} {evidence['unit']} by {by}, at most {evidence['most']:,} at once"
    found = [
        f"{each['statistic']} {each['value']} (threshold {each['threshold']}, {each['rows']} rows)"
        for each in evidence["evidence"]
    ]
    subject = evidence["subject"]
    return f"{subject['kind']} {subject['id']}, {evidence['score']} decades: " + ", ".join(found)


def _effect(tally: Tally, rule: Rule, effect: Effect) -> dict[str, Any]:
    marked = sum(tally.parties[caller].marked for caller in effect.callers)
    most = sorted(effect.callers.items(), key=lambda each: (-each[1].rows, each[0]))[:LISTED]
    return {
        "kind": rule.kind,
        "model": rule.model,
        "name": rule.name,
        "step": rule.step,
        "answer": rule.answer,
        "mode": rule.mode,
        "calls": effect.calls,
        "rows": effect.rows,
        "verdicts": effect.verdicts,
        "callers": len(effect.callers),
        "callers_marked": marked,
        "callers_unmarked": len(effect.callers) - marked,
        "first": _time(effect.first),
        "evidence": effect.evidence,
        "by_caller": [
            {
                "caller": printable(caller),
                "calls": share.calls,
                "rows": share.rows,
                "first": _time(share.first),
                "marked": tally.parties[caller].marked,
            }
            for caller, share in most
        ],
    }


def _ordered(tally: Tally) -> list[tuple[Rule, Effect]]:
    steps = list(_VERBS)
    return sorted(
        tally.effects.items(),
        key=lambda each: (each[0].kind, each[0].model, each[0].name, steps.index(each[0].step), each[0].mode),
    )


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
