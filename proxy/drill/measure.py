"""One attack, run and judged: what it spent, what was found of it, and what the attacker ended with."""

import math
import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass

import numpy as np

from proxy.drill.accounts import Account, Spread, Way
from proxy.drill.attacks import Attack, Outcome, Predict, Target
from proxy.drill.material import HELD_OUT, Material
from proxy.drill.results import Run
from proxy.drill.watching import Admin, Found, Watching
from proxy.drill.wire import Model

BUDGETS = {"evasion": 500, "extraction": 10_000, "membership": 2_000, "inversion": 3_000}
"""Rows, by technique."""


@dataclass(frozen=True)
class Manner:
    """How the calls of an attack go out.

    Attributes:
        accounts: over which.
        spread: which of them sends the next call.
        rate: calls a second at most; 0: as fast as they go.
    """

    accounts: Sequence[Account] = (Account(),)
    spread: Spread = "round_robin"
    rate: float = 0.0


def attacked(
    key: str,
    attack: Attack,
    model: Model,
    material: Material,
    manner: Manner,
    mode: str,
    run: int,
    seed: int,
    seeds: Sequence[int],
    classes: int,
    budget: int | None = None,
    judge: Predict | None = None,
    admin: Admin | None = None,
) -> Run:
    """Runs one attack.

    Args:
        key: its name on the command line.
        attack: which.
        model: the target.
        material: rows.
        manner: of sending.
        mode: as recorded.
        run: its number.
        seed: with `run` and the attack's name, of all dice.
        seeds: places of the rows to be misclassified.
        classes: of the model.
        budget: rows; None: the technique's own.
        judge: the model itself; None: the attacker's own view is all that there is.
        admin: of the target, where verdicts are read.
    """
    target = material.target(attack.technique, budget or BUDGETS[attack.technique], classes, seeds)
    rng = np.random.default_rng([seed, run, *key.encode()])
    way = Way(model, manner.accounts, target.budget, rng, manner.spread, manner.rate)
    callers = [account.caller for account in manner.accounts]
    watching = Watching(admin, lambda: way.rows, callers if all(callers) else ()) if admin is not None else None
    began = time.monotonic()
    with watching if watching is not None else nullcontext():
        outcome = attack.run(way, target, rng)
        seconds = time.monotonic() - began
    found = watching.found if watching is not None else Found()
    return Run(
        data=material.name,
        attack=key,
        name=attack.name,
        technique=attack.technique,
        mode=mode,
        accounts=len(manner.accounts),
        run=run,
        budget=target.budget,
        rows=way.rows,
        refused=way.refused,
        ended=outcome.ended,
        seconds=round(seconds, 3),
        watched=admin is not None,
        **asdict(found),
        norm=outcome.norm if outcome.adversarial else None,
        figures={
            name: value for name, value in _figures(outcome, target, material, judge).items() if not math.isnan(value)
        },
    )


def _figures(outcome: Outcome, target: Target, material: Material, judge: Predict | None) -> dict[str, float]:
    """By name, NaN where there is nothing to tell.

    evasion: `success`, the share of the seeds that were tried for which anything that the attacker was told misleads
    the model itself within the stated size (by the attacker's own view without a judge); `perturbation`, the length of
    the least change that does, of any size.
    extraction: `fidelity`, the surrogate's agreement with the model on rows held apart, and `accuracy`;
    both are a guess's (1 / classes) without a surrogate. membership: `auc`, `advantage` and more of the attack's own.
    inversion: `true_confidence`, the model's own in the reconstructions' classes; `likeness`.
    """
    figures = dict(outcome.metrics)
    if outcome.adversarial:
        figures |= _evaded(outcome, target, judge)
    if outcome.surrogate is not None or "trained_on" in figures:
        figures |= _stolen(outcome, target, material, judge)
    if len(outcome.inverted) and judge is not None:
        said = judge(outcome.inverted)[np.arange(len(outcome.inverted)), outcome.inverted_labels]
        figures["true_confidence"] = float(said.mean())
    return {name: float(value) for name, value in figures.items()}


def _evaded(outcome: Outcome, target: Target, judge: Predict | None) -> dict[str, float]:
    successes, lengths = [], []
    for seed, label, told in zip(target.seeds, target.seed_labels, outcome.adversarial, strict=False):
        if judge is not None and len(told):
            told = told[judge(told).argmax(axis=1) != label]
        successes.append(bool(len(told)) and bool(target.near(seed, told, outcome.norm).any()))
        if len(told):
            order = np.inf if outcome.norm == "inf" else 2
            lengths.append(float(np.linalg.norm((told - seed).reshape(len(told), -1), ord=order, axis=1).min()))
    return {
        "success": float(np.mean(successes)),
        "perturbation": float(np.median(lengths)) if lengths else float("nan"),
    }


def _stolen(outcome: Outcome, target: Target, material: Material, judge: Predict | None) -> dict[str, float]:
    rows, labels = material.rows[:HELD_OUT], material.labels[:HELD_OUT]
    if outcome.surrogate is None:
        guess = 1 / target.classes
        return {"fidelity": guess if judge is not None else float("nan"), "accuracy": guess}
    said = outcome.surrogate(rows).argmax(axis=1)
    agrees = float("nan") if judge is None else float((judge(rows).argmax(axis=1) == said).mean())
    return {"fidelity": agrees, "accuracy": float((said == labels).mean())}
