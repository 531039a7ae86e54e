"""Expectations of a drill, as a gate: a YAML file of bounds, and a sentence for each that is broken.

    evasion: {found: all, median_rows: 50}
    "oars_*": {success: 0.04}
    extraction: {found: all, fidelity_drop: 20}
    benign: {acted_on: 0.001}

A key is a technique, an attack's name on the command line (`*` and `?` match several), or `benign`.
"""

from collections.abc import Collection, Iterator, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from proxy.drill.attacks import ATTACKS
from proxy.drill.report import OFF, Group, groups
from proxy.drill.results import Results
from proxy.drill.wire import UsageError

Share = Annotated[float, Field(ge=0, le=1)]


class Bounds(BaseModel):
    """Of what attacks may get, and how soon they must be found. Each holds for every attack, manner and mode by itself.

    Attributes:
        found, acted_on: `all`, or the least share of the runs.
        median_rows: the most rows at which half of the runs are found; runs that are not found count as endless.
        success, advantage: the most that is allowed.
        fidelity_drop: the least that a surrogate's fidelity falls below what it is without protection, in points.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    found: Literal["all"] | Share | None = None
    acted_on: Literal["all"] | Share | None = None
    median_rows: Annotated[float, Field(gt=0)] | None = None
    success: Share | None = None
    advantage: Share | None = None
    fidelity_drop: Annotated[float, Field(ge=0, le=100)] | None = None


class BenignBounds(BaseModel):
    """Attributes: acted_on, the largest share of all benign callers, of each way of measuring."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    acted_on: Share


class Expectations(BaseModel):
    """Attributes: attacks, bounds by technique, name or pattern; benign."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    attacks: dict[str, Bounds] = {}
    benign: BenignBounds | None = None

    @classmethod
    def read(cls, path: Path) -> "Expectations":
        """From a file. Raises UsageError."""
        try:
            value = yaml.safe_load(path.read_text())
        except (OSError, UnicodeDecodeError, yaml.YAMLError, RecursionError) as error:
            raise UsageError(f"--expect: {path} cannot be read: {error}") from None
        if not isinstance(value, dict) or not value:
            raise UsageError(f"--expect: {path} holds no expectation; write one as `evasion: {{found: all}}`")
        benign = {"benign": value.pop("benign")} if "benign" in value else {}
        try:
            return cls.model_validate({"attacks": value, **benign})
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(str(part) for part in first["loc"] if part != "attacks")
            raise UsageError(f"--expect: {path}: {place}: {first['msg']} (it is {first['input']!r})") from None

    def fit(self, names: Collection[str], results: Results) -> None:
        """Says before a drill of hours what its results cannot have.

        Args:
            names: attacks that are asked for, with their disguises.
            results: that are there already.

        Raises:
            UsageError: no attack, asked for or there, is what a key names.
        """
        known = {(ATTACKS[name.partition("+")[0]].technique, name) for name in names}
        known |= {(run.technique, run.attack) for run in results.runs}
        for key in self.attacks:
            if not any(_names(key, technique, attack) for technique, attack in known):
                among = ", ".join(sorted({text for each in known for text in each})) or "none"
                raise UsageError(f"--expect: {key!r} is none of the attacks that are run, nor their technique: {among}")


def _names(key: str, technique: str, attack: str) -> bool:
    return key == technique or fnmatchcase(attack, key)


def broken(expectations: Expectations, results: Results) -> list[str]:
    """One sentence for each bound that is not kept, and for each that nothing was measured for."""
    measured = groups(results.runs)
    found = [sentence for key, bounds in expectations.attacks.items() for sentence in _held(key, bounds, measured)]
    return found + list(_benign(expectations.benign, results))


def _held(key: str, bounds: Bounds, measured: Sequence[Group]) -> Iterator[str]:
    matching = [group for group in measured if _names(key, group.first.technique, group.first.attack)]
    protected = [group for group in matching if group.first.mode != OFF]
    if not protected:
        yield f"{key}: no such attack was run against the protection"
    for group in protected:
        named = f"{group.first.data}: {group.first.attack} over {group.first.accounts}, {group.first.mode}"
        for sentence in (*_finding(bounds, group), *_gain(bounds, group, matching)):
            yield f"{named}: {sentence}"


def _finding(bounds: Bounds, group: Group) -> Iterator[str]:
    total = len(group.runs)
    wanted = bounds.found, bounds.acted_on, bounds.median_rows
    if wanted != (None, None, None) and not group.watched:
        yield "what was found is not known; name the target's --admin"
        return
    for verb, least, number in (("found", bounds.found, group.found), ("acted on", bounds.acted_on, group.acted)):
        share = 1.0 if least == "all" else least
        if share is not None and number < share * total:
            yield f"{verb} in {number} of {total} runs; expected: {least}"
    if bounds.median_rows is not None:
        rows = sorted(float("inf") if run.found_at is None else run.found_at for run in group.runs)
        median = (rows[(total - 1) // 2] + rows[total // 2]) / 2
        if median > bounds.median_rows:
            yield f"found after {median:g} rows at the median; expected: {bounds.median_rows:g} at most"


def _gain(bounds: Bounds, group: Group, matching: Sequence[Group]) -> Iterator[str]:
    for name, most in (("success", bounds.success), ("advantage", bounds.advantage)):
        if most is None:
            continue
        value = group.figure(name)
        if value is None:
            yield f"{name} was not measured; expected: {most:g} at most"
        elif value > most:
            yield f"{name} is {value:.3g}; expected: {most:g} at most"
    if bounds.fidelity_drop is not None:
        yield from _drop(bounds.fidelity_drop, group, matching)


def _drop(least: float, group: Group, matching: Sequence[Group]) -> Iterator[str]:
    def same(other: Group) -> bool:
        one, two = group.first, other.first
        return two.mode == OFF and (one.data, one.attack) == (two.data, two.attack)

    before = next((other.figure("fidelity") for other in matching if same(other)), None)
    after = group.figure("fidelity")
    if before is None or after is None:
        yield f"the fall in fidelity is not known (it needs --direct); expected: {least:g} points at least"
    elif 100 * (before - after) < least:
        yield f"fidelity falls by {100 * (before - after):.1f} points; expected: {least:g} at least"


def _benign(bounds: BenignBounds | None, results: Results) -> Iterator[str]:
    if bounds is None:
        return
    if not results.benign:
        yield "benign: no benign callers were measured; ask for some with --benign or --simulated"
    for data, how in dict.fromkeys((each.data, each.how) for each in results.benign):
        own = [each for each in results.benign if (each.data, each.how) == (data, how)]
        acted, callers = sum(each.callers_acted for each in own), sum(each.callers for each in own)
        if acted > bounds.acted_on * callers:
            yield f"{data}: benign ({how}): {acted} of {callers} callers acted on; at most: {bounds.acted_on:.2%}"
