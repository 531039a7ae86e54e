"""Whether a candidate may take the served model's place: each decision with its reason in one sentence."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from defenses.retraining.after import Requirements
from defenses.retraining.evaluation import CLEAN, Evaluation
from defenses.retraining.intervals import difference
from defenses.retraining.signatures import Signature, differences


@dataclass(frozen=True)
class Decision:
    """One gate's.

    Attributes:
        gate: its name.
        passed: whether it lets the candidate through.
        reason: one sentence, with the figures.
    """

    gate: str
    passed: bool
    reason: str


def judge(
    candidate: Evaluation,
    served: Evaluation,
    candidate_signatures: Mapping[str, Signature],
    served_signatures: Mapping[str, Signature],
    requirements: Requirements,
) -> list[Decision]:
    """Every gate's decision; the candidate passes if all do.

    Args:
        candidate, served: evaluated on the same rows.
        candidate_signatures, served_signatures: as they are written in the SavedModels.
        requirements: to be fulfilled.

    Raises:
        ValueError: the evaluations are of different rows.
    """
    if candidate.labels.shape != served.labels.shape or (candidate.labels != served.labels).any():
        raise ValueError("candidate and served model were evaluated on different rows")
    if candidate.plan != served.plan:
        raise ValueError("candidate and served model were evaluated by different plans")
    return [
        _rows(candidate, requirements),
        _robust(candidate, served, requirements),
        _clean(candidate, served, requirements),
        _gradients(candidate),
        _signatures(candidate_signatures, served_signatures),
    ]


def passed(decisions: list[Decision]) -> bool:
    """Whether every gate lets the candidate through."""
    return all(decision.passed for decision in decisions)


def _rows(candidate: Evaluation, requirements: Requirements) -> Decision:
    rows = len(candidate.labels)
    enough = rows >= requirements.least_rows
    return Decision(
        "rows",
        enough,
        f"{rows} rows were evaluated"
        + ("." if enough else f", and at least {requirements.least_rows} are needed to decide anything."),
    )


def _robust(candidate: Evaluation, served: Evaluation, requirements: Requirements) -> Decision:
    gap = difference(candidate.robust, served.robust)
    figures = (
        f"robust accuracy goes from {served.robust.mean():.1%} to {candidate.robust.mean():.1%} "
        f"({gap.value * 100:+.1f} points, {gap.low * 100:+.1f} to {gap.high * 100:+.1f}, p = {gap.p:.2g})"
    )
    if gap.value < requirements.robust_gain:
        return Decision("robust accuracy", False, f"{figures}, and must rise by {requirements.robust_gain:.1%}.")
    if gap.value <= 0 or gap.p >= requirements.significance:
        return Decision(
            "robust accuracy", False, f"{figures}, which may be luck: p must be below {requirements.significance:g}."
        )
    return Decision("robust accuracy", True, f"{figures}.")


def _clean(candidate: Evaluation, served: Evaluation, requirements: Requirements) -> Decision:
    gap = difference(candidate.right[CLEAN], served.right[CLEAN])
    figures = (
        f"clean accuracy goes from {served.right[CLEAN].mean():.1%} to {candidate.right[CLEAN].mean():.1%} "
        f"({gap.value * 100:+.1f} points, {gap.low * 100:+.1f} to {gap.high * 100:+.1f})"
    )
    if gap.value < -requirements.clean_loss:
        return Decision("clean accuracy", False, f"{figures}, and may fall by {requirements.clean_loss:.1%} at most.")
    return Decision("clean accuracy", True, f"{figures}.")


def _gradients(candidate: Evaluation) -> Decision:
    signs = candidate.contradictions
    if signs:
        return Decision("masked gradients", False, "the robust accuracy cannot be believed: " + " Also: ".join(signs))
    return Decision("masked gradients", True, "attacks of all kinds agree with each other.")


def _signatures(candidate: Mapping[str, Signature], served: Mapping[str, Signature]) -> Decision:
    changed = differences(served, candidate)
    if changed:
        return Decision("signatures", False, f"callers would notice: {'; '.join(changed)}.")
    return Decision("signatures", True, f"the signatures are those served: {', '.join(sorted(served))}.")


def as_json(decisions: list[Decision]) -> list[dict[str, Any]]:
    """The decisions as plain values."""
    return [{"gate": each.gate, "passed": each.passed, "reason": each.reason} for each in decisions]
