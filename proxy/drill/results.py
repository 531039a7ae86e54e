"""What a drill measured, as it is kept: one record a run, merged into one JSON file as runs finish."""

from collections.abc import Iterable
from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from proxy.drill.attacks.contract import Ended, Norm, Technique
from proxy.drill.wire import DrillError, UsageError


class Record(BaseModel):
    """Frozen, and strict about its fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Run(Record):
    """One attack, once.

    Attributes:
        data: what it was run on.
        attack: as on the command line, disguises included: `square+dummies`.
        name: as in tables.
        technique: what it is after.
        mode: `off` without protection; `on`, or how a demonstration's proxy answers: `silent`, `refuse`.
        accounts: that it was spread over.
        run: its number, which decides the seed row and all dice.
        budget: rows that it might have spent.
        rows: answered; refused: in calls that were refused.
        ended: why it ended.
        seconds: that it took.
        watched: whether the target's verdicts could be read; if not, what was found is not known.
        found_at, found_spent, acted_at, acted_spent, detector, step: see `proxy.drill.watching.Found`.
        norm: in which an evasion is measured.
        figures: what the attacker ended with, by name; see `proxy.drill.measure`.
    """

    data: str
    attack: str
    name: str
    technique: Technique
    mode: str
    accounts: int = 1
    run: int = 0
    budget: int
    rows: int
    refused: int
    ended: Ended
    seconds: float
    watched: bool = False
    found_at: int | None = None
    found_spent: int | None = None
    acted_at: int | None = None
    acted_spent: int | None = None
    detector: str | None = None
    step: str | None = None
    norm: Norm | None = None
    figures: dict[str, float] = {}

    @property
    def key(self) -> tuple[str, ...]:
        """Names the run among all."""
        return self.data, self.attack, self.mode, str(self.accounts), str(self.run)


class Benign(Record):
    """Benign callers of one kind.

    Attributes:
        data: what they asked about.
        kind: of workload.
        how: `simulated` time, through the very engine and policy; or over the `wire`, with time compressed.
        callers, rows: how many.
        callers_acted, rows_acted: on whom and on whose calls' rows a step beyond observe was taken, be it for what they
            did themselves or because a row was near to somebody else's flagged cluster.
        callers_held: those with a verdict of their own beyond observe.
        callers_found: those with a verdict on any step.
    """

    data: str
    kind: str
    how: Literal["simulated", "wire"]
    callers: int
    rows: int
    callers_acted: int
    rows_acted: int
    callers_held: int
    callers_found: int

    @property
    def key(self) -> tuple[str, ...]:
        """Names it among all."""
        return self.data, "benign", self.kind, self.how


class Telling(Record):
    """What answers tell an attacker who asks whether a row is flagged; see `proxy.drill.telling`.

    Attributes:
        data, mode, run: as of a run.
        probes: rows tried, half of them flagged.
        accuracy: with which the attacker tells them apart; 0.5 is guessing.
        bits: mutual information of its guess with the truth, of at most 1.
        by: accuracy from one kind of sign alone: refusals, answers or timing.
    """

    data: str
    mode: str
    run: int = 0
    probes: int
    accuracy: float
    bits: float
    by: dict[str, float]

    @property
    def key(self) -> tuple[str, ...]:
        """Names it among all."""
        return self.data, "telling", self.mode, str(self.run)


class Immune(Record):
    """A customer on the immunity list.

    Attributes:
        data: what it asked about.
        rows: that it sent.
        changed: rows that were answered otherwise than by the model itself; refused: rows that were not answered.
        reported: the hardest step of the verdicts on it, None without one.
    """

    data: str
    rows: int
    changed: int
    refused: int
    reported: str | None

    @property
    def key(self) -> tuple[str, ...]:
        """Names it among all."""
        return self.data, "immune"


Measured = Run | Benign | Telling | Immune


class Results(Record):
    """All of it.

    Attributes:
        about: what was drilled, as sentences for whoever reads the tables.
    """

    about: dict[str, str] = {}
    runs: tuple[Run, ...] = ()
    benign: tuple[Benign, ...] = ()
    telling: tuple[Telling, ...] = ()
    immune: tuple[Immune, ...] = ()

    @classmethod
    def read(cls, path: Path) -> Self:
        """From a file; empty if there is none yet.

        Raises:
            UsageError: it holds something else.
        """
        try:
            return cls.model_validate_json(path.read_text())
        except FileNotFoundError:
            return cls()
        except (OSError, UnicodeDecodeError, ValidationError) as error:
            raise UsageError(
                f"{path}: are no results of a drill ({str(error).splitlines()[0]}); name another file"
            ) from None

    def write(self, path: Path) -> None:
        """To a file, in one step, so that an interrupted drill leaves what it had. Raises DrillError."""
        made = path.with_name(path.name + ".new")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            made.write_text(self.model_dump_json(indent=1) + "\n")
            made.replace(path)
        except OSError as error:
            raise DrillError(f"{path}: cannot be written: {error.strerror or error}") from None

    @property
    def records(self) -> tuple[Measured, ...]:
        """All that is there."""
        return *self.runs, *self.benign, *self.telling, *self.immune

    @property
    def keys(self) -> frozenset[tuple[str, ...]]:
        """Of all records."""
        return frozenset(each.key for each in self.records)

    def with_records(self, records: Iterable[Measured]) -> Self:
        """With these in the place of earlier ones of the same key."""
        merged = list({each.key: each for each in (*self.records, *records)}.values())
        kinds = {"runs": Run, "benign": Benign, "telling": Telling, "immune": Immune}
        update = {name: tuple(each for each in merged if isinstance(each, kind)) for name, kind in kinds.items()}
        return self.model_copy(update=update)
