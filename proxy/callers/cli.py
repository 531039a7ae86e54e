"""`tensorwall callers`: list, show, block, release and immunise callers of a running proxy."""

import argparse
import json
import re
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from detectors.findings import Technique
from proxy.activity import caller_key
from proxy.admin import client
from proxy.admin.client import AdminClient, ClientError
from proxy.admin.views import MAX_PAGE, SORTS
from proxy.config.detection import STEPS
from proxy.identity import MAX_ID_CHARS
from proxy.logs import printable

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_DECISIONS = {
    "block": "refuse its calls from now on",
    "release": "end blocks and verdicts; what was found so far does not count again",
    "immunise": "report what detectors find, and act on none of it",
    "end-immunity": "act again on what detectors find",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's own arguments."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    listing = actions.add_parser("list", help="who calls, those with most evidence against them first")
    listing.add_argument("--model", help="only callers of this model")
    listing.add_argument("--step", choices=("any", *STEPS), help="only callers on this step; any: on some step")
    listing.add_argument("--technique", choices=[each.value for each in Technique])
    listing.add_argument("--contains", metavar="TEXT", help="in the name or the group")
    listing.add_argument("--sort", choices=SORTS, default="score")
    listing.add_argument("--limit", type=int, default=50, metavar="N", help=f"1 to {MAX_PAGE}")
    listing.add_argument("--offset", type=int, default=0, metavar="N")
    show = actions.add_parser("show", help="one caller, with the evidence")
    decisions = [actions.add_parser(name, help=what) for name, what in _DECISIONS.items()]
    for action in (show, *decisions):
        action.add_argument("caller", metavar="CALLER", help="its name or its key, as `list` shows them")
    for action in decisions:
        action.add_argument("--reason", required=True, metavar="TEXT", help="why; it stands in the audit log")
        action.add_argument("--model", help="for this model only; for all if absent")
    for action in (decisions[0], decisions[2]):
        action.add_argument(
            "--for", dest="seconds", type=_seconds, metavar="TIME", help="as 30m, 4h or 7d; until it is ended if absent"
        )
    for action in (listing, show, *decisions):
        action.add_argument("--json", action="store_true", help="the answer of the API, as it is")
        client.add_arguments(action)


def run(arguments: argparse.Namespace) -> int:
    """Runs one action; 0 when done, 1 if the proxy refuses or cannot be reached, 2 for a mistake."""
    try:
        proxy = AdminClient(arguments.admin, arguments)
        if arguments.action == "list":
            answer = proxy.get("/callers", _query(arguments))
        elif arguments.action == "show":
            answer = proxy.get(f"/callers/{_key(arguments.caller)}")
        else:
            kind = arguments.action.replace("-", "_")
            answer = proxy.post(f"/callers/{_key(arguments.caller)}/{kind}", _body(arguments))
    except ClientError as error:
        print(f"tensorwall callers: {error}", file=sys.stderr)
        return error.code
    if arguments.json:
        print(json.dumps(answer, indent=2))
    else:
        {"list": _list, "show": _show}.get(arguments.action, _done)(answer)
    return 0


def _query(arguments: argparse.Namespace) -> dict[str, Any]:
    return {
        "model": arguments.model,
        "step": arguments.step,
        "technique": arguments.technique,
        "q": arguments.contains,
        "sort": arguments.sort,
        "order": "asc" if arguments.sort == "name" else "desc",
        "limit": arguments.limit,
        "offset": arguments.offset,
    }


def _body(arguments: argparse.Namespace) -> dict[str, Any]:
    body = {"reason": arguments.reason, "model": arguments.model}
    if getattr(arguments, "seconds", None) is not None:
        body["seconds"] = arguments.seconds
    if _is_key(arguments.caller):
        return body
    if len(arguments.caller) > MAX_ID_CHARS:
        raise ClientError(f"CALLER: an id has at most {MAX_ID_CHARS} characters, this one {len(arguments.caller)}", 2)
    return body | {"name": arguments.caller}


def _is_key(caller: str) -> bool:
    return re.fullmatch(r"[0-9a-f]{24}", caller) is not None


def _key(caller: str) -> str:
    return caller if _is_key(caller) else caller_key(caller)


def _seconds(text: str) -> float:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd]?)", text)
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no time; write seconds, or a number with s, m, h or d")
    return float(match[1]) * _UNITS[match[2] or "s"]


def _list(answer: Any) -> None:
    rows = [
        (
            each["name"],
            each["key"],
            _step(each),
            ",".join(each["techniques"]) or "-",
            f"{each['score']:.1f}",
            str(each["rows"]),
            str(each["refused"]),
            _moment(each["last"]),
        )
        for each in answer["callers"]
    ]
    print_table(("CALLER", "KEY", "STEP", "TECHNIQUES", "SCORE", "ROWS", "REFUSED", "LAST CALL"), rows)
    if answer["total"] > len(rows):
        print(f"{len(rows)} of {answer['total']}; --offset and --limit show others")


def _show(answer: Any) -> None:
    print_table(
        ("CALLER", "KEY", "GROUP", "STEP", "CALLS", "ROWS", "REFUSED", "LAST CALL"),
        [
            (
                answer["name"],
                answer["key"],
                answer["group"] or "-",
                _step(answer),
                str(answer["calls"]),
                str(answer["rows"]),
                str(answer["refused"]),
                _moment(answer["last"]),
            )
        ],
    )
    for each in answer["decisions"]:
        until = f" until {_moment(each['until'])}" if each["until"] else ""
        model = each["model"] or "all models"
        said = f"{each['action']} for {model}{until} by {each['operator']}: {each['reason']}"
        print(f"\n{printable(said)}")
    for verdict in answer["verdicts"]:
        spared = " (immune)" if verdict["immune"] else ""
        said = (
            f"{verdict['technique']} of {verdict['model']}: {verdict['step']} in {verdict['mode']}{spared}, "
            f"{verdict['score']} decades, since {_moment(verdict['since'])}, {verdict['atlas']} {verdict['owasp']}"
        )
        print(f"\n{printable(said)}")
        print_table(
            ("STATISTIC", "VALUE", "THRESHOLD", "DECADES", "ROWS", "NOTE"),
            [
                (e["statistic"], str(e["value"]), str(e["threshold"]), str(e["surprise"]), str(e["rows"]), e["note"])
                for e in verdict["evidence"]
            ],
        )
    for each in answer["evidence"]:
        said = f"{each['model']}: {(each['distances'] or {}).get('said', 'no distances yet')}"
        print(f"\n{printable(said)}")
        points = (each["progress"] or {}).get("points", [])
        if points:
            print(f"a copy of it would foretell {points[-1]['fidelity']:.0%} of the next rows")


def _done(answer: Any) -> None:
    until = f" until {answer['until']}" if answer["until"] else ""
    model = answer["model"] or "all models"
    said = f"{answer['action']} of {answer['caller']} for {model}{until}, by {answer['operator']}"
    print(printable(f"{said}; event {answer['id']}"))


def print_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table with columns as wide as they need to be; whatever is in it stays on its line."""
    shown = [[printable(cell) for cell in row] for row in (head, *rows)]
    widths = [max(len(row[at]) for row in shown) for at in range(len(head))]
    for row in shown:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _step(row: Any) -> str:
    if row["manual"]:
        kind = row["manual"] if isinstance(row["manual"], str) else row["manual"]["action"]
        return {"block": "blocked", "immunise": "immune"}.get(kind, kind)
    return "-" if row["step"] is None else row["step"] + (" (shadow)" if row["mode"] == "shadow" else "")


def _moment(time: float | None) -> str:
    return datetime.fromtimestamp(time, UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if time else "-"
