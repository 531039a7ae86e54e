"""When a run is due, and that one succeeded: so that a scheduler may start it often, and it ends at once if it is not.

The last success is read from the Prometheus text file that the last success wrote. Attacks are counted in the audit
log of the proxy (docs/events.md).
"""

import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

METRIC = "tensorwall_retraining_last_success_timestamp_seconds"
HELP = "When a retraining last passed its gates and was published."
STEPS = ("slow", "coarsen", "throttle", "block")
"""Steps of the ladder that act; a verdict of the step `observe` confirms nothing."""
DAY = 86400.0
PUSH_SECONDS = 10.0


class ScheduleError(Exception):
    """The conditions cannot be looked at; `str()` says why and the remedy."""


@dataclass(frozen=True)
class When:
    """Conditions that all have to hold.

    Attributes:
        attacks: confirmed attacks on the model since the last success, at least; 0 for none.
        days: since the last success, at least; 0 for none.
    """

    attacks: int = 0
    days: float = 0.0

    @classmethod
    def parse(cls, text: str) -> "When":
        """`attacks>=5,days>=7`, or one of the two.

        Raises:
            ScheduleError: it is not of this form.
        """
        found: dict[str, float] = {}
        for part in text.replace(" ", "").split(","):
            match = re.fullmatch(r"(attacks|days)>=(\d+(?:\.\d+)?)", part)
            if match is None or match[1] in found or (match[1] == "attacks" and "." in match[2]):
                raise ScheduleError(
                    f"--when {text!r}: {part!r} is not attacks>=WHOLE NUMBER or days>=NUMBER, once each"
                )
            found[match[1]] = float(match[2])
        return cls(int(found.get("attacks", 0)), found.get("days", 0.0))

    def unmet(self, now: float, last_success: float | None, attacks: int) -> list[str]:
        """Why no run is due, a sentence each; empty if one is.

        Args:
            now: seconds since 1970.
            last_success: the same; None if there was none, which leaves only the attacks to be waited for.
            attacks: confirmed since then.
        """
        reasons = []
        if last_success is not None and now - last_success < self.days * DAY:
            reasons.append(
                f"the last success was {(now - last_success) / DAY:.1f} days ago, and {self.days:g} must lie between."
            )
        if attacks < self.attacks:
            reasons.append(f"{attacks} attacks were confirmed since the last success, and {self.attacks} are needed.")
        return reasons


def confirmed_attacks(log: Path, model: str, since: float | None) -> int:
    """Verdicts that acted on an attack on a model, counted once each, and not those that an operator released.

    Args:
        log: the audit log; the files that it was rotated to (`NAME.1`, `NAME.2`, ...) are read as well.
        model: the name that it is served as.
        since: seconds since 1970; None for all.

    Raises:
        ScheduleError: the log cannot be read.
    """
    acted: set[str] = set()
    for event in _events(log):
        verdict = event.get("verdict")
        if not isinstance(verdict, dict) or verdict.get("model") != model or not _after(event.get("time"), since):
            continue
        subject = verdict.get("id") or json.dumps([verdict.get("subject"), verdict.get("technique")], sort_keys=True)
        if event.get("event") == "verdict.released":
            acted.discard(str(subject))
        elif event.get("event") in ("verdict.new", "verdict.reached") and _acts(verdict):
            acted.add(str(subject))
    return len(acted)


def _acts(verdict: dict[str, object]) -> bool:
    return verdict.get("mode") == "enforce" and verdict.get("step") in STEPS


def _events(log: Path) -> Iterator[dict[str, object]]:
    files = [path for path in log.parent.glob(f"{log.name}.*") if path.suffix[1:].isdigit()]
    for path in (*sorted(files, key=lambda path: -int(path.suffix[1:])), log):
        try:
            with path.open(encoding="utf-8", errors="replace") as lines:
                for line in lines:
                    try:
                        event = json.loads(line)
                    except json.JSONDecodeError:
                        continue  # the line that is being written, or one that a crash tore
                    if isinstance(event, dict):
                        yield event
        except FileNotFoundError:
            if path == log:
                raise ScheduleError(f"{log}: there is no such audit log; name the file of `events.file.path`") from None
        except OSError as error:
            raise ScheduleError(f"{path} cannot be read: {error.strerror}") from None


def _after(stamp: object, since: float | None) -> bool:
    if since is None:
        return True
    try:
        return datetime.fromisoformat(str(stamp)).timestamp() > since
    except ValueError:
        return False


def last_success(textfile: Path, model: str) -> float | None:
    """When a run of a model last succeeded, seconds since 1970; None if never.

    Raises:
        ScheduleError: the file is there and cannot be read.
    """
    return _successes(textfile).get(model)


def note_success(textfile: Path, model: str, now: float) -> None:
    """Writes the time of a success for node_exporter's textfile collector, in one step; other models' lines stay.

    Raises:
        ScheduleError: the file cannot be read or written.
    """
    values = {**_successes(textfile), model: now}
    partial = textfile.with_name(f".{textfile.name}.{os.getpid()}")
    try:
        partial.write_text(exposition(values))
        partial.replace(textfile)
    except OSError as error:
        raise ScheduleError(f"{textfile} cannot be written: {error.strerror}") from None


def push_success(gateway: str, model: str, now: float) -> None:
    """Pushes the time of a success to a Pushgateway, in the group of the job `retraining` and the model.

    Raises:
        ScheduleError: it is not to be reached, or refuses.
    """
    from prometheus_client import CollectorRegistry, Gauge, pushadd_to_gateway

    registry = CollectorRegistry()
    Gauge(METRIC, HELP, ["model"], registry=registry).labels(model).set(now)
    try:
        pushadd_to_gateway(gateway, "retraining", registry, {"model": model}, timeout=PUSH_SECONDS)
    except (OSError, ValueError) as error:
        raise ScheduleError(f"the Pushgateway {gateway} did not take it: {error}") from None


def exposition(successes: dict[str, float]) -> str:
    """Prometheus text of the times of success by model, for a textfile."""
    lines = [f"# HELP {METRIC} {HELP}", f"# TYPE {METRIC} gauge"]
    for model, value in sorted(successes.items()):
        name = model.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
        lines.append(f'{METRIC}{{model="{name}"}} {value:.3f}')
    return "\n".join(lines) + "\n"


def _successes(textfile: Path) -> dict[str, float]:
    try:
        text = textfile.read_text()
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise ScheduleError(f"{textfile} cannot be read: {error}") from None
    found = re.findall(rf'^{METRIC}\{{model="((?:[^"\\]|\\.)*)"\}} (\S+)$', text, re.MULTILINE)
    try:
        return {_unescaped(name): float(value) for name, value in found}
    except ValueError as error:
        raise ScheduleError(f"{textfile} is none of ours: {error}; remove it") from None


def _unescaped(name: str) -> str:
    return re.sub(r"\\(.)", lambda match: "\n" if match[1] == "n" else match[1], name)


def stamp(time: float) -> str:
    """Seconds since 1970 as RFC 3339, UTC."""
    return datetime.fromtimestamp(time, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
