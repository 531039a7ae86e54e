"""Signs that attacks fail for want of a gradient, not of adversarial rows (Athalye et al. 2018, arXiv 1802.00420).

Carlini et al. 2019 (arXiv 1902.06705) list them. Each contradiction between two results is one sentence.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise

from defenses.retraining.intervals import Right, difference

TOLERANCE = 0.02
"""Share of the rows by which the weaker of two attacks may be better: no attack is perfect."""
LEAST_ROWS = 3
"""Fewer rows than these are no sign of anything."""
LAST_ACCURACY = 0.05
"""What may be left where the attacker may change everything."""
NOISE = 0.05
"""Of McNemar's test: a difference more probable than this is taken for luck."""


def contradictions(
    right: Mapping[str, Right],
    *,
    single: str,
    iterated: str,
    longer: tuple[str, str] | None,
    white_box: Sequence[str],
    black_box: Sequence[str],
    curve: Sequence[tuple[float, Right]],
) -> list[str]:
    """What does not fit together.

    Args:
        right: (n,) which rows were answered right under each attack, by its name.
        single: the attack of one step.
        iterated: the attack of many steps.
        longer: two attacks that differ in their steps alone, the one of more steps last.
        white_box: attacks that see gradients.
        black_box: attacks that do not.
        curve: rows right by radius, ascending; the last one lets the attacker change everything.
    """
    return [
        *_weaker(single, iterated, right[single], right[iterated], "one step does better than many"),
        *(_longer(right, *longer) if longer else []),
        *_black_box(right, white_box, black_box),
        *_curve(curve),
    ]


def _weaker(weak: str, strong: str, weak_right: Right, strong_right: Right, what: str) -> Iterator[str]:
    gap = difference(strong_right, weak_right)
    if gap.value > TOLERANCE and gap.p < NOISE:
        yield (
            f"{what}: accuracy is {weak_right.mean():.1%} under {weak} but {strong_right.mean():.1%} under {strong}, "
            "so the gradient does not lead where the loss rises."
        )


def _longer(right: Mapping[str, Right], short: str, long: str) -> Iterator[str]:
    yield from _weaker(short, long, right[short], right[long], "more steps do worse")
    gap = difference(right[short], right[long])
    if gap.value > 2 * TOLERANCE and gap.p < NOISE:
        yield (
            f"the attack has not converged: accuracy falls from {right[short].mean():.1%} under {short} to "
            f"{right[long].mean():.1%} under {long}, so the figures are too good."
        )


def _black_box(right: Mapping[str, Right], white_box: Sequence[str], black_box: Sequence[str]) -> Iterator[str]:
    resisted = right[white_box[0]].copy()
    for name in white_box[1:]:
        resisted &= right[name]
    for name in black_box:
        broken = int((resisted & ~right[name]).sum())
        if broken >= LEAST_ROWS and broken / len(resisted) > TOLERANCE:
            yield (
                f"black-box does better than white-box: {name} breaks {broken} of {len(resisted)} rows that "
                f"{' and '.join(white_box)} could not, so gradients are masked."
            )


def _curve(curve: Sequence[tuple[float, Right]]) -> Iterator[str]:
    for (small, before), (large, after) in pairwise(curve):
        gap = difference(after, before)
        if gap.value > TOLERANCE and gap.p < NOISE:
            yield (
                f"a larger radius does worse: accuracy is {before.mean():.1%} at {small:g} but {after.mean():.1%} at "
                f"{large:g}."
            )
    if curve and curve[-1][1].mean() > LAST_ACCURACY:
        radius, last = curve[-1]
        yield (
            f"accuracy does not fall to 0: {last.mean():.1%} is left at radius {radius:g}, where the attacker may "
            "change a row into any other."
        )
