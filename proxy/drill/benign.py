"""Benign callers of every kind: over the wire as fast as it goes, or in simulated time through engine and policy.

Over the wire an hour of calls is compressed into seconds, which real detectors take for haste; large numbers are better
measured in simulated time, with the profile that the target uses.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from detectors.calibration import batches
from detectors.engine import Engine
from detectors.features import Extractor, summarise
from detectors.observation import Observation
from detectors.profile import Profile, ProfileError
from detectors.workloads import KINDS, BenignCall, benign
from proxy.config.detection import Detection
from proxy.drill.accounts import Account
from proxy.drill.attacks.contract import Predict, RefusedError, Rows
from proxy.drill.material import Material
from proxy.drill.results import Benign
from proxy.drill.watching import Admin
from proxy.drill.wire import Model, UsageError
from proxy.policy import Policy, Verdict

CHANGED = 1e-3
"""Of a probability, from which an answer is another one; less comes of how rows are batched."""
BETWEEN = 10
"""Rows of benign callers that pass between two rows of a slow attack."""

Progress = Callable[[Sequence[Any], str], Iterator[Any]]


@dataclass
class _Tally:
    """Of one caller. Attributes: rows; acted, those of calls that were acted on; found and hit by a verdict."""

    rows: int = 0
    acted: int = 0
    found: bool = False
    hit: bool = False


@dataclass
class _Book:
    """Of all callers, by name."""

    kinds: dict[str, str]
    tallies: dict[str, _Tally] = field(default_factory=lambda: defaultdict(_Tally))

    def records(self, data: str, how: Literal["simulated", "wire"]) -> list[Benign]:
        """One for each kind that there was."""
        made = []
        for kind in KINDS:
            own = [self.tallies[caller] for caller, its in self.kinds.items() if its == kind]
            if own:
                made.append(
                    Benign(
                        data=data,
                        kind=kind,
                        how=how,
                        callers=len(own),
                        rows=sum(each.rows for each in own),
                        callers_acted=sum(each.hit or each.acted > 0 for each in own),
                        callers_held=sum(each.hit for each in own),
                        rows_acted=sum(each.acted for each in own),
                        callers_found=sum(each.found for each in own),
                    )
                )
        return made


def over_the_wire(
    model: Model,
    material: Material,
    accounts: Sequence[Account],
    rng: np.random.Generator,
    judge: Predict | None,
    admin: Admin | None,
    progress: Progress,
) -> list[Benign]:
    """One caller an account, all in the order of their simulated times but without its pauses.

    An answer that is not the model's own (by `judge`), a refusal, and a verdict on the caller beyond observe all count
    as acted on.
    """
    calls = benign(material.rows, material.labels, len(accounts), rng, "benign")
    book = _Book({call.caller: call.kind for call in calls})
    account = dict(zip(sorted(book.kinds), accounts, strict=True))
    for call in progress(calls, "benign callers"):
        tally, rows = book.tallies[call.caller], call.rows
        tally.rows += len(rows)
        try:
            said = model.ask(rows, account[call.caller].metadata)
        except RefusedError:
            tally.acted += len(rows)
            continue
        if judge is not None:
            tally.acted += int((np.abs(said - judge(rows)).max(axis=1) > CHANGED).sum())
    if admin is not None:
        admin.settle()
        steps = {
            each["subject"]["id"]: each["highest"] for each in admin.verdicts() if each["subject"]["kind"] == "caller"
        }
        for name, own in account.items():
            step = steps.get(own.caller)
            book.tallies[name].found = step is not None
            book.tallies[name].hit = step not in (None, "observe")
    return book.records(material.name, "wire")


def simulated(
    model: Model,
    judge: Predict,
    material: Material,
    callers: int,
    profile: Path,
    rng: np.random.Generator,
    progress: Progress,
) -> list[Benign]:
    """Callers in simulated time, through the engine and policy that a proxy with this profile has.

    Args:
        model: for the form of its inputs.
        judge: the model itself, asked for its answers.
        material: rows held apart from calibration.
        callers: how many.
        profile: as calibrated.
        rng: throws the callers.
        progress: shown.

    Raises:
        UsageError: the profile cannot be read.
    """
    try:
        learned = Profile.read(profile)
    except ProfileError as error:
        raise UsageError(f"--profile: {error}") from None
    calls = benign(material.rows, material.labels, callers, rng, "benign")
    book = _Book({call.caller: call.kind for call in calls})
    extractor = Extractor(learned.salt, learned.scaling)
    engine, policy = Engine(learned), Policy(_untold)
    policy.configure({learned.model: Detection(mode="enforce", profile=profile)})
    seen = list(_observed(calls, model, judge, extractor, learned.model, progress))
    for batch in progress(list(batches(seen)), "benign callers, judged"):
        for observation in batch:
            _meet(policy, observation, book.tallies[observation.caller])
        policy.judge(learned.model, engine.see(batch), batch[-1].time)
        for verdict in policy.verdicts(batch[-1].time):
            if verdict.subject.kind == "caller":
                tally = book.tallies[verdict.subject.id]
                tally.found = True
                tally.hit |= verdict.acted_at > 0
    return book.records(material.name, "simulated")


def _untold(verdict: Verdict, now: float) -> None:
    del verdict, now


def _meet(policy: Policy, observation: Observation, tally: _Tally) -> None:
    """What the request path would do to a call, by what is known before it."""
    model, caller, now = observation.model, observation.caller, observation.time
    standing = policy.standing(model, caller, observation.groups, now)
    owners = policy.members(model, caller).of(observation.features.embeddings)
    rows = policy.row_standings(model, caller, owners, now)
    tally.rows += len(rows)
    if standing.step is not None or any(each.step is not None for each in rows):
        tally.acted += len(rows)  # the rules of one row's standing hold for its whole call


def _observed(
    calls: Sequence[BenignCall], model: Model, judge: Predict, extractor: Extractor, name: str, progress: Progress
) -> Iterator[Observation]:
    sizes = [len(call.rows) for call in calls]
    answers = _asked(calls, judge, progress)
    for call, said in zip(calls, np.split(answers, np.cumsum(sizes)[:-1]), strict=True):
        features = extractor({model.input: model.values(call.rows)}, len(call.rows))
        yield Observation(call.time, call.caller, (f"network:{call.caller}",), name, "", features, summarise(said))


def _asked(calls: Sequence[BenignCall], judge: Predict, progress: Progress) -> NDArray[np.float32]:
    parts = [calls[at : at + 100] for at in range(0, len(calls), 100)]
    return np.concatenate(
        [judge(np.concatenate([call.rows for call in part])) for part in progress(parts, "asking the model")]
    )


class Bystanders:
    """Benign callers whose traffic passes between the calls of a slow attack.

    Args:
        model: the target.
        material: their rows.
        accounts: theirs.
        rng: throws them.
    """

    def __init__(self, model: Model, material: Material, accounts: Sequence[Account], rng: np.random.Generator) -> None:
        calls = benign(material.rows, material.labels, len(accounts), rng, "bystander")
        names = sorted({call.caller for call in calls})
        self._model, self._calls = model, cycle(calls)
        self._accounts = dict(zip(names, accounts, strict=True))

    def __call__(self, rows: int) -> None:
        """Lets BETWEEN times as many rows pass."""
        left = BETWEEN * rows
        while left > 0:
            call = next(self._calls)
            part: Rows = call.rows[:left]
            left -= len(part)
            with suppress(RefusedError):
                self._model.ask(part, self._accounts[call.caller].metadata)
