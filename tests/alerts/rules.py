"""The alert rules, and which metrics PromQL names."""

import re
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
RULES = ROOT / "deploy" / "prometheus" / "tensorwall.rules.yml"

_DURATION = re.compile(r"(?<![\w.])(\d+)([smhd])\b")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def groups() -> list[dict[str, Any]]:
    """As the file has them."""
    found: list[dict[str, Any]] = yaml.safe_load(RULES.read_text())["groups"]
    return found


def alerts() -> dict[str, dict[str, Any]]:
    """Every rule by its alert's name."""
    rules = [rule for group in groups() for rule in group["rules"]]
    named = {rule["alert"]: rule for rule in rules}
    assert len(named) == len(rules), "no two rules have one name"
    return named


def metrics(query: str) -> set[str]:
    """Names of this project's metrics, as the exposition spells them, and `up`."""
    bare = re.sub(r'"[^"]*"', '""', query)
    return set(re.findall(r"\b(tensorwall_\w+|up)\b", bare))


def hurried(divisor: int) -> str:
    """The same rules with shorter durations: intervals, `for`, `keep_firing_for` and ranges; a second at least."""

    def shorter(match: re.Match[str]) -> str:
        return f"{max(1, int(match[1]) * _SECONDS[match[2]] // divisor)}s"

    made = groups()
    for group in made:
        group["interval"] = "1s"
        for rule in group["rules"]:
            rule["expr"] = re.sub(r"\[[^]]+\]", lambda found: _DURATION.sub(shorter, found[0]), rule["expr"])
            for key in ("for", "keep_firing_for"):
                if key in rule:
                    rule[key] = _DURATION.sub(shorter, rule[key])
    return yaml.safe_dump({"groups": made}, sort_keys=False)
