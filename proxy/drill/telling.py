"""What answers tell an attacker who uses the protection as an oracle: is this row flagged?

A search is run until a cluster of near rows is acted on. Then fresh accounts, which nothing is held against, ask each
for one row twice, each time with a little noise: half of them for rows of that cluster, half for others. From refusals,
answers (do two different rows get one answer? is it a class only?) and timing, the attacker learns to tell the two
kinds apart, as well as a small decision tree can, judged on probes that it has not learned from.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from proxy.drill.accounts import Account, Way
from proxy.drill.attacks.contract import Attack, Oracle, Probabilities, RefusedError, Rows
from proxy.drill.material import Material
from proxy.drill.results import Telling
from proxy.drill.watching import Admin
from proxy.drill.wire import DrillError, Model

PROBES = 100
NOISE = 2 / 255
"""Uniform, either way: what makes a second row of a first."""
BUDGET = 1_000
"""Rows of the search that gets itself flagged."""
PATIENCE = 5.0
"""Seconds that detectors may take after it."""
SIGNS = {"refusals": slice(0, 2), "answers": slice(2, 5), "timing": slice(5, 7)}
"""Columns of what is noticed about a probe."""


@dataclass(frozen=True)
class _Probe:
    rows: Rows
    flagged: bool


def told(
    model: Model,
    admin: Admin,
    material: Material,
    search: Attack,
    accounts: Sequence[Account],
    mode: str,
    run: int,
    seeds: Sequence[int],
    rng: np.random.Generator,
) -> Telling:
    """Measures it.

    Args:
        model: the target, fresh.
        admin: its admin port.
        material: rows.
        search: the evasion that gets flagged.
        accounts: one for the search, and one more for each of PROBES.
        mode, run: as recorded.
        seeds: places of the search's seeds.
        rng: throws the probes.

    Raises:
        DrillError: the search was not acted on, so that there is nothing to tell.
    """
    way = _Recorded(Way(model, accounts[:1], BUDGET, rng))
    classes = model.ask(material.pool[:1], accounts[1].metadata).shape[1]
    search.run(way, material.target("evasion", BUDGET, classes, seeds), rng)
    if not _acted(admin):
        raise DrillError(f"{search.name} was not acted on in {way.rows} rows: nothing is flagged that could be told")
    probes = _probes(way, material, rng)
    noticed = [_noticed(model, probe, account) for probe, account in zip(probes, accounts[1:], strict=False)]
    signs, truth = np.array(noticed, float), np.array([probe.flagged for probe in probes[: len(noticed)]])
    said = _learned(signs, truth)
    return Telling(
        data=material.name,
        mode=mode,
        run=run,
        probes=len(truth),
        accuracy=float((said == truth).mean()),
        bits=_bits(said, truth),
        by={name: float((_learned(signs[:, part], truth) == truth).mean()) for name, part in SIGNS.items()},
    )


class _Recorded:
    """An oracle that keeps what was asked."""

    def __init__(self, oracle: Oracle) -> None:
        self._oracle = oracle
        self.asked: list[Rows] = []

    @property
    def rows(self) -> int:
        return self._oracle.rows

    @property
    def refused(self) -> int:
        return self._oracle.refused

    def __call__(self, rows: Rows) -> Probabilities:
        self.asked.append(rows)
        return self._oracle(rows)


def _acted(admin: Admin) -> bool:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if any(each["subject"]["kind"] == "cluster" and each["acted_at"] for each in admin.verdicts()):
            return True
        time.sleep(0.1)
    return False


def _probes(way: _Recorded, material: Material, rng: np.random.Generator) -> list[_Probe]:
    """Rows of the search's second half, and rows of the attacker's own that nobody has asked for, in random order."""
    asked = np.concatenate(way.asked)
    late = asked[len(asked) // 2 :]
    flagged = late[rng.choice(len(late), PROBES // 2)]
    others = material.pool[rng.choice(len(material.pool), PROBES // 2, replace=False)]
    probes = [_Probe(_pair(row, rng), True) for row in flagged] + [_Probe(_pair(row, rng), False) for row in others]
    return [probes[at] for at in rng.permutation(len(probes))]


def _pair(row: Rows, rng: np.random.Generator) -> Rows:
    noise = rng.uniform(-NOISE, NOISE, (2, *row.shape))
    return np.asarray(row + noise, np.float32).clip(0, 1)


def _noticed(model: Model, probe: _Probe, account: Account) -> list[float]:
    """Refused twice, one answer to both, its largest probabilities twice, seconds twice; see SIGNS."""
    answers: list[Probabilities | None] = []
    seconds = []
    for row in probe.rows:
        began = time.perf_counter()
        try:
            answers.append(model.ask(row[None], account.metadata))
        except RefusedError:
            answers.append(None)
        seconds.append(time.perf_counter() - began)
    refused = [float(answer is None) for answer in answers]
    known = [answer for answer in answers if answer is not None]
    same = float(len(known) == 2 and np.array_equal(known[0], known[1]))
    largest = [0.0 if answer is None else float(answer.max()) for answer in answers]
    return [*refused, same, *largest, *seconds]


def _learned(signs: NDArray[np.float64], truth: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Whether each probe is taken for flagged by a tree that has learned from other probes."""
    from sklearn.model_selection import StratifiedKFold, cross_val_predict
    from sklearn.tree import DecisionTreeClassifier

    tree = DecisionTreeClassifier(max_depth=3, min_samples_leaf=3, random_state=0)
    folds: Any = StratifiedKFold(5, shuffle=True, random_state=0)
    return np.asarray(cross_val_predict(tree, signs, truth, cv=folds), bool)


def _bits(said: NDArray[np.bool_], truth: NDArray[np.bool_]) -> float:
    """Mutual information."""
    joint = np.array([[((said == one) & (truth == other)).mean() for other in (False, True)] for one in (False, True)])
    apart = joint.sum(axis=1, keepdims=True) * joint.sum(axis=0, keepdims=True)
    there = joint > 0
    return float((joint[there] * np.log2(joint[there] / apart[there])).sum())
