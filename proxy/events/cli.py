"""`tensorwall events`: the latest events, those to come, and whether an audit log is whole."""

import argparse
import json
import os
import re
import signal
import sys
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from proxy.admin import client
from proxy.admin.client import AdminClient, ClientError
from proxy.events.chain import check
from proxy.events.follow import lines
from proxy.events.schema import kind_of
from proxy.logs import printable

POLL_SECONDS = 0.3
AGAIN_SECONDS = 1.0
_KINDS = ("verdict", "action", "access", "configuration", "proxy")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's own arguments."""
    parser.add_argument("--follow", action="store_true", help="go on with those to come, until interrupted")
    parser.add_argument("--model", help="only those about this model")
    parser.add_argument("--kind", choices=_KINDS, help="only those of this kind")
    parser.add_argument("--limit", type=int, default=50, metavar="N", help="of the latest that are shown first")
    parser.add_argument("--json", action="store_true", help="as JSON lines")
    parser.add_argument("--file", type=Path, metavar="FILE", help="from an audit log instead of a running proxy")
    parser.add_argument(
        "--verify", type=Path, nargs="+", metavar="FILE", help="say whether the files of an audit log are whole"
    )
    parser.add_argument(
        "--anchor", action="append", default=[], metavar="SHA256", help="with --verify: a hash that has to be met"
    )
    client.add_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """0 when done, 1 if a log is not whole or the proxy cannot be reached, 2 for a mistake."""
    if mistake := _mistake(arguments):
        print(f"tensorwall events: {mistake}", file=sys.stderr)
        return 2
    if arguments.follow:
        signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        if arguments.verify:
            return _verify(arguments.verify, arguments.anchor)
        for content in _events(arguments):
            if _wanted(content, arguments):
                print(json.dumps(content) if arguments.json else line(content), flush=True)
    except ClientError as error:
        print(f"tensorwall events: {error}", file=sys.stderr)
        return error.code
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # who reads has enough
    except OSError as error:
        print(f"tensorwall events: {error.filename}: {error.strerror}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        pass
    return 0


def _mistake(arguments: argparse.Namespace) -> str:
    if arguments.anchor and not arguments.verify:
        return "--anchor goes with --verify"
    wrong = [each for each in arguments.anchor if re.fullmatch(r"[0-9a-f]{64}", each) is None]
    return f"--anchor {wrong[0]!r:.80}: write 64 hexadecimal digits" if wrong else ""


def line(content: dict[str, Any]) -> str:
    """An event in a line."""
    name = str(content.get("event"))
    kind = kind_of(name)
    if kind == "verdict":
        verdict = content["verdict"]
        subject = verdict["subject"]
        said = (
            f"{content['before'] or 'none'} -> {verdict['step'] or 'none'} ({verdict['mode']}) "
            f"{verdict['technique']} of {verdict['model']} by {subject['kind']} {subject['id']}, "
            f"{verdict['score']} decades, {verdict['atlas']}"
        )
    elif kind == "action":
        until = f" until {content['until']}" if content["until"] else ""
        model = content["model"] or "all models"
        said = (
            f"{content['action']} {content['caller']} for {model}{until} by {content['operator']}: {content['reason']}"
        )
    elif kind == "access":
        said = f"{content['operator'] or 'somebody'} from {content['address']}: {content['what']}"
    else:
        said = "; ".join(content.get("problems", ())) or str(content.get("tensorwall", ""))
    return printable(f"{content.get('time')} {name:<22} {said}".rstrip())


def _verify(paths: list[Path], anchors: list[str]) -> int:
    found = check(paths, anchors)
    for problem in found.problems:
        print(problem)
    whole = "is whole" if not found.problems else f"is NOT whole: {len(found.problems)} problems"
    lost = f", {found.lost} events were lost before they could be written" if found.lost else ""
    print(f"the log {whole}: {found.lines} lines, numbers {found.first} to {found.last}, head {found.head}{lost}")
    return 1 if found.problems else 0


def _events(arguments: argparse.Namespace) -> Iterator[dict[str, Any]]:
    if arguments.file is not None:
        yield from _of_file(arguments.file, arguments)
        return
    proxy = AdminClient(arguments.admin, arguments)
    if not arguments.follow:
        yield from reversed(proxy.get("/events", {"limit": max(1, min(200, arguments.limit))})["events"])
        return
    seen: deque[str] = deque(maxlen=2000)
    while True:
        try:
            for content in _streamed(proxy, arguments.limit):
                if content["id"] not in seen:
                    seen.append(content["id"])
                    yield content
        except ClientError as error:
            if not seen or error.code == 2:
                raise
            print(f"tensorwall events: {error}; trying again", file=sys.stderr)
        time.sleep(AGAIN_SECONDS)


def _streamed(proxy: AdminClient, limit: int) -> Iterator[dict[str, Any]]:
    """The latest events, then those to come, until the stream ends."""
    for name, content in proxy.stream():
        if name == "hello":
            if not proxy.heard:
                yield from reversed(proxy.get("/events", {"limit": max(1, min(200, limit))})["events"])
        elif name != "tick":
            yield content


def _of_file(path: Path, arguments: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """The latest that are wanted, then, when following, those to come."""
    held = lines(path)
    wanted = (each for each in iter(lambda: next(held), None) if _wanted(each, arguments))
    yield from deque(wanted, maxlen=max(0, arguments.limit))
    if not arguments.follow:
        return
    for content in held:
        if content is None:
            time.sleep(POLL_SECONDS)
        else:
            yield content


def _wanted(content: dict[str, Any], arguments: argparse.Namespace) -> bool:
    name = str(content.get("event"))
    if arguments.kind is not None and kind_of(name) != arguments.kind:
        return False
    if arguments.model is None:
        return True
    about = content.get("verdict", {}).get("model", content.get("model", ""))
    return bool(about == printable(arguments.model) or (name == "action" and about is None))
