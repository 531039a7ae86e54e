"""Attacks by the names of the command line: `square`, `square+dummies`; `*` and `?` match several."""

from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase

from proxy.drill.attacks import ATTACKS, DISGUISES, Attack, Disguised, Slow
from proxy.drill.wire import UsageError

SLOW = "slow"
NONE = "none"
Between = Callable[[int], None]


def chosen(names: Sequence[str]) -> list[str]:
    """The attacks that names and patterns stand for, each once; `none` stands for none.

    Raises:
        UsageError: there is no such attack or disguise.
    """
    found: dict[str, None] = {}
    for name in names:
        if name == NONE:
            continue
        plain, *disguises = name.split("+")
        matching = [attack for attack in ATTACKS if fnmatchcase(attack, plain)]
        if not matching:
            raise UsageError(f"--attacks: there is no attack {plain!r}; known: {', '.join(ATTACKS)}")
        for disguise in disguises:
            if disguise not in DISGUISES and disguise != SLOW:
                known = ", ".join([*DISGUISES, SLOW])
                raise UsageError(f"--attacks: there is no disguise {disguise!r} (in {name!r}); known: {known}")
        found |= dict.fromkeys("+".join([attack, *disguises]) for attack in matching)
    return list(found)


def attack(name: str, between: Between | None = None) -> Attack:
    """One attack in its disguises, as `chosen` names it.

    Args:
        name: known to be right.
        between: what happens before each call of a slow one; None: nothing does.
    """
    plain, *disguises = name.split("+")
    made: Attack = ATTACKS[plain]
    for disguise in disguises:
        slow = disguise == SLOW
        made = Disguised(made, Slow(between or _nothing) if slow else DISGUISES[disguise])
    return made


def _nothing(rows: int) -> None:
    del rows
