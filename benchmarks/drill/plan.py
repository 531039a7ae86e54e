"""All that `make drill` measures, as jobs that can be done in any order, one by one or two at a time."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal

from proxy.drill.attacks import ATTACKS, DISGUISES
from proxy.drill.choice import SLOW, attack
from proxy.drill.report import SIMULATED

Kind = Literal["attack", "slowly", "benign", "telling", "immune"]
MODES = ("off", "silent", "refuse")
TRAININGS = 3
"""Runs, at most, of attacks that train a network or score hundreds of rows: they vary little, and take long."""
FEWER = 5
"""Runs, at most, of evasions of the second model."""
SPREAD = 20
SLOWLY = (30, 300)
"""Seconds between the calls of attacks that are slow in simulated time."""
DISGUISED = ("square", "hop_skip_jump")
IMAGES = "fashion-mnist"


@dataclass(frozen=True)
class Job:
    """One piece of work.

    Attributes:
        scene: its name.
        kind: of work.
        name: of an attack; empty otherwise.
        mode: of the protection.
        accounts: that an attack is spread over.
        run: its number.
    """

    scene: str
    kind: Kind
    name: str = ""
    mode: str = "silent"
    accounts: int = 1
    run: int = 0

    @property
    def key(self) -> tuple[str, ...]:
        """Of the record that it makes; one of them, for benign callers."""
        if self.kind in ("attack", "slowly"):
            return self.scene, self.name, self.mode, str(self.accounts), str(self.run)
        if self.kind == "telling":
            return self.scene, self.kind, self.mode, str(self.run)
        return (self.scene, self.kind, "plain", "simulated") if self.kind == "benign" else (self.scene, self.kind)

    @property
    def title(self) -> str:
        """What --only matches: `scene/name`, with `*20` if it is spread."""
        spread = f"*{self.accounts}" if self.accounts > 1 else ""
        return f"{self.scene}/{self.name or self.kind}{spread}"


def jobs(scene: str, runs: int, only: Sequence[str] = ()) -> list[Job]:
    """All jobs of a scene, run by run, so that an interrupted drill has something of everything.

    Args:
        scene: its name.
        runs: of each evasion; of other attacks TRAININGS at most.
        only: patterns of titles, or of their last part; none: everything.
    """
    wanted = [job for job in _all(scene, runs) if not only or any(_matches(job, pattern) for pattern in only)]
    return sorted(wanted, key=lambda job: job.run)


def _all(scene: str, runs: int) -> Iterator[Job]:
    few = range(min(runs, TRAININGS))
    yield Job(scene, "benign")
    yield Job(scene, "immune")
    for name, accounts, modes in _attacks(scene):
        often = attack(name).technique == "evasion" and SLOW not in name
        count = range(runs if scene == IMAGES else min(runs, FEWER)) if often else few
        yield from (Job(scene, "attack", name, mode, accounts, run) for mode in modes for run in count)
    if scene != IMAGES:
        return
    yield from (Job(scene, "telling", mode=mode, run=run) for mode in MODES[1:] for run in few)
    for name in DISGUISED:
        named = [f"{name}@{every}s" for every in SLOWLY]
        yield from (Job(scene, "slowly", each, SIMULATED, run=run) for each in named for run in few)


def _attacks(scene: str) -> Iterator[tuple[str, int, Sequence[str]]]:
    """Names, accounts and modes; with several accounts, nothing is different without protection."""
    if scene != IMAGES:
        yield from ((name, 1, MODES[:2]) for name in ATTACKS if not attack(name).images)
        return
    yield from ((name, 1, MODES) for name in ATTACKS)
    yield from ((f"{name}+{disguise}", 1, MODES[:2]) for name in DISGUISED for disguise in (*DISGUISES, SLOW))
    yield from ((name, SPREAD, MODES[1:2]) for name in ATTACKS if attack(name).technique in ("evasion", "extraction"))


def _matches(job: Job, pattern: str) -> bool:
    return fnmatchcase(job.title, pattern.replace("*2", "[*]2")) or fnmatchcase(
        job.title.partition("/")[2], pattern.replace("*2", "[*]2")
    )
