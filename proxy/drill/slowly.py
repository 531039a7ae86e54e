"""Slow attacks: hours between first and last call, in simulated time, among benign callers.

Time cannot be hurried over the wire. So an attack's calls and the model's answers are recorded from the model itself,
and then seen by the very engine and policy of a proxy, one call every so often. Nothing reacts: what is measured is
whether, and after how many rows, it would have been found and acted on; not what the attacker would have got then.
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from heapq import merge
from pathlib import Path

import numpy as np

from detectors.calibration import batches
from detectors.engine import Engine
from detectors.features import Extractor, summarise
from detectors.findings import Subject
from detectors.observation import Observation
from detectors.profile import Profile
from detectors.workloads import HOUR, benign
from proxy.config.detection import Detection
from proxy.drill.attacks.contract import Attack, BudgetSpentError, Predict, Probabilities, Rows
from proxy.drill.material import Material
from proxy.drill.measure import BUDGETS
from proxy.drill.report import SIMULATED
from proxy.drill.results import Run
from proxy.drill.watching import Found
from proxy.drill.wire import Model
from proxy.policy import Policy, Verdict
from proxy.policy.verdict import harder

ATTACKER = "attacker"


class Recorded:
    """An oracle that notes what was asked and answered. Attributes: as of an `Oracle`; calls, in their order."""

    def __init__(self, model: Predict, budget: int) -> None:
        self.rows = self.refused = 0
        self.calls: list[tuple[Rows, Probabilities]] = []
        self._model, self._budget = model, budget

    def __call__(self, rows: Rows) -> Probabilities:
        """The model's own answers. Raises BudgetSpentError."""
        if self.rows + len(rows) > self._budget:
            raise BudgetSpentError
        answers = self._model(rows)
        self.calls.append((rows, answers))
        self.rows += len(rows)
        return answers


def slowly(
    key: str,
    attack: Attack,
    every: float,
    callers: int,
    model: Model,
    material: Material,
    profile: Path,
    run: int,
    seeds: Sequence[int],
    rng: np.random.Generator,
) -> Run:
    """One attack, a call every so many seconds.

    Args:
        key: as recorded.
        attack: which; an evasion.
        every: seconds between its calls.
        callers: benign ones an hour, all the while.
        model: the model itself.
        material: rows.
        profile: of the model, calibrated.
        run: its number.
        seeds: places of its seeds.
        rng: throws everything.
    """
    learned = Profile.read(profile)
    budget = BUDGETS[attack.technique]
    classes = model(material.rows[:1]).shape[1]
    oracle = Recorded(model, budget)
    outcome = attack.run(oracle, material.target(attack.technique, budget, classes, seeds), rng)
    extractor = Extractor(learned.salt, learned.scaling)

    def observed(time: float, caller: str, rows: Rows, answers: Probabilities) -> Observation:
        features = extractor({model.input: model.values(rows)}, len(rows))
        return Observation(time, caller, (f"network:{caller}",), learned.model, "", features, summarise(answers))

    attacks = (observed(HOUR / 2 + every * at, ATTACKER, *call) for at, call in enumerate(oracle.calls))
    hours = int((HOUR / 2 + every * len(oracle.calls)) // HOUR) + 1
    others = (observed(*each) for each in _benign(material, model, callers, hours, rng))
    seen = list(merge(attacks, others, key=lambda each: each.time))
    found = _judged(seen, learned, profile)
    return Run(
        data=material.name,
        attack=key,
        name=f"{attack.name}, a call every {every:g} s",
        technique=attack.technique,
        mode=SIMULATED,
        run=run,
        budget=budget,
        rows=oracle.rows,
        refused=0,
        ended=outcome.ended,
        seconds=every * len(oracle.calls),
        watched=True,
        **asdict(found),
    )


def _benign(
    material: Material, model: Predict, callers: int, hours: int, rng: np.random.Generator
) -> Iterator[tuple[float, str, Rows, Probabilities]]:
    for hour in range(hours):
        calls = benign(material.rows, material.labels, callers, rng, f"benign-{hour}")
        for call in calls:
            yield hour * HOUR + call.time, call.caller, call.rows, model(call.rows)


def _judged(seen: Sequence[Observation], learned: Profile, profile: Path) -> Found:
    """What was found of the attacker."""
    found = Found()

    def told(verdict: Verdict, now: float) -> None:
        nonlocal found
        del now
        if verdict.subject == Subject("caller", ATTACKER):
            found = _with(found, verdict)

    engine, policy = Engine(learned), Policy(told)
    policy.configure({learned.model: Detection(mode="enforce", profile=profile)})
    for batch in batches(seen):
        policy.judge(learned.model, engine.see(batch), batch[-1].time)
    return found


def _with(found: Found, verdict: Verdict) -> Found:
    detector = next(iter(verdict.evidence))
    if found.found_at is None:
        found = replace(found, found_at=verdict.found_at, detector=detector)
    if found.acted_at is None and verdict.acted_at:
        found = replace(found, acted_at=verdict.acted_at, detector=detector)
    return replace(found, step=harder(found.step, verdict.step))
