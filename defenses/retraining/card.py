"""The model card (Mitchell et al. 2019, arXiv 1810.03993) that goes with a version: Markdown to read, JSON to parse."""

import json
from pathlib import Path
from typing import Any

from defenses.retraining.evaluation import Evaluation
from defenses.retraining.gates import Decision, as_json

FOLDER = "assets.extra"
"""Of a version folder; model servers leave it alone."""
MARKDOWN, JSON = "model_card.md", "model_card.json"


def write_card(folder: Path, card: dict[str, Any]) -> None:
    """Writes both forms to a version folder."""
    extra = folder / FOLDER
    extra.mkdir(exist_ok=True)
    (extra / JSON).write_text(json.dumps(card, indent=2) + "\n")
    (extra / MARKDOWN).write_text(markdown(card))


def card_of(
    name: str,
    made: str,
    training: dict[str, Any],
    candidate: Evaluation,
    served: Evaluation | None,
    decisions: list[Decision],
) -> dict[str, Any]:
    """What is to be known about a version, as plain values.

    Args:
        name: that it is served as.
        made: when, RFC 3339.
        training: the manifest of its training.
        candidate, served: evaluated on the same rows; no served one for a first version.
        decisions: of the gates.
    """
    return {
        "model": name,
        "made": made,
        "training": training,
        "evaluation": candidate.as_json(),
        "replaces": None if served is None else served.as_json(),
        "gates": as_json(decisions),
    }


def markdown(card: dict[str, Any]) -> str:
    """The card for readers."""
    own, before = card["evaluation"], card["replaces"]
    norm = "L-inf" if own["norm"] == "inf" else "L2"
    lines = [
        f"# {card['model']}",
        "",
        f"Retrained against adversarial inputs, {card['made']}.",
        "",
        "## What it withstands",
        "",
        f"{own['rows']:,} rows that it was not trained on, {norm} radius {own['epsilon']:g}; 95 % intervals by Wilson.",
        "",
        "| | this version |" + (" before |" if before else ""),
        "|---|---|" + ("---|" if before else ""),
    ]
    for name, share in own["accuracy"].items():
        cells = [name, _share(share)]
        if before:
            cells.append(_share(before["accuracy"].get(name)))
        lines.append(f"| {' | '.join(cells)} |")
    lines += ["", f"Expected calibration error: {own['calibration_error']:.3f}."]
    if own["membership_advantage"] is not None:
        lines.append(f"Membership advantage of an attacker who sees confidences: {own['membership_advantage']:+.3f}.")
    if (private := card["training"].get("privacy")) is not None:
        lines.append(f"({private['epsilon']:.2f}, {private['delta']:g})-differentially private for each training row.")
    for finding in card["training"].get("captured", {}).get("findings", ()):
        lines.append(f"Poison in rows of callers, let in by the job: {finding['who']}: {finding['text']}.")
    lines += ["", "## Gates", ""]
    lines += [
        f"- {each['gate']}: {'passed' if each['passed'] else 'refused'}; {each['reason']}" for each in card["gates"]
    ]
    lines += [
        "",
        "## Limits",
        "",
        "Robust accuracy holds for the attacks, norm and radius above, on rows like these. Other changes of an input, "
        "such as rotations or patches, are not covered.",
        "",
        "## Training",
        "",
        "```json",
        json.dumps(card["training"], indent=2),
        "```",
    ]
    return "\n".join(lines) + "\n"


def _share(share: dict[str, Any] | None) -> str:
    return "-" if share is None else f"{share['value']:.1%} ({share['low']:.1%} to {share['high']:.1%})"
