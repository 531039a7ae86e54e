"""The rows of a drill: what is attacked, what attackers have, and what they are judged by."""

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from proxy.drill.attacks.contract import Labels, Predict, Rows, Target, Technique
from proxy.drill.wire import Scale, UsageError

SEEDS = 20
"""Of a run; an evasion goes on to the next when it is done with one, until its rows are spent."""
SEEDS_TRIED = 2
"""Rows asked for each seed wanted; of a model that is right less often, runs have fewer."""
HELD_OUT = 2000
"""Rows by which a surrogate is judged, at most."""
MEMBERS = 500
"""Rows of either kind that an attack on membership is scored by, at most."""
THEFT_CALL = 50
"""Rows of a thief's calls: a batch job's, and no more than that, since a thief wants answers before it is found."""
PARTS = ("pool", "member", "foreign")


@dataclass(frozen=True)
class Material:
    """Rows in [0, 1], and their classes.

    Attributes:
        name: of the data, in results.
        rows, labels: that the model was not trained on and that attackers have not: seeds, and for judging.
        pool, pool_labels: the attackers' own, of the model's kind.
        members, member_labels: that the model was trained on; none, and no attack on membership is run.
        foreign: the attackers' own of another kind.
        epsilon, radius: of an evasion that counts; see `Target`.
    """

    name: str
    rows: Rows
    labels: Labels
    pool: Rows
    pool_labels: Labels
    members: Rows
    member_labels: Labels
    foreign: Rows
    epsilon: float = 0.1
    radius: float = 2.0

    def seeds(self, model: Predict, runs: int) -> list[list[int]]:
        """For each run, the places of rows that the model gets right: SEEDS of them, or as many as there are.

        Raises:
            UsageError: there is not one for each run.
        """
        count = SEEDS * runs
        tried = min(len(self.rows), SEEDS_TRIED * count)
        right = np.flatnonzero(model(self.rows[:tried]).argmax(axis=1) == self.labels[:tried])
        if len(right) < runs:
            raise UsageError(
                f"--runs: {runs} runs need as many rows that the model gets right; of {tried} it gets {len(right)} "
                "(are y the classes' places in its output?)"
            )
        return [right[run:count:runs].tolist() for run in range(runs)]

    def target(self, technique: Technique, budget: int, classes: int, seeds: Sequence[int]) -> Target:
        """What an attacker of this technique knows.

        Args:
            technique: evasion gets the seeds, attacks on membership get members and others.
            budget: rows that may be spent.
            classes: of the model.
            seeds: places of the rows to be misclassified, one after the other.
        """
        target = Target(
            classes=classes,
            budget=budget,
            pool=self.pool,
            pool_labels=self.pool_labels,
            foreign=self.foreign,
            epsilon=self.epsilon,
            radius=self.radius,
        )
        if technique == "evasion":
            return replace(target, seeds=self.rows[list(seeds)], seed_labels=self.labels[list(seeds)])
        if technique in ("membership", "inversion"):
            others = slice(len(self.rows) - min(MEMBERS, len(self.rows)), None)
            members = slice(0, MEMBERS if technique == "membership" else None)
            return replace(
                target,
                members=self.members[members],
                member_labels=self.member_labels[members],
                others=self.rows[others],
                other_labels=self.labels[others],
            )
        return replace(target, batch=THEFT_CALL)


def read(path: Path, bounds: tuple[float, float] | None, rng: np.random.Generator) -> tuple[dict[str, Any], Scale]:
    """The arrays of an .npz file, scaled to [0, 1], and the scale.

    `x` (n, ...) as the model takes them, never trained on, and `y` (n,) their classes as places in its output. May also
    hold `pool_x`, `pool_y`, `member_x`, `member_y` and `foreign_x`. Without a pool, half of x, chosen at random, is the
    attackers'.

    Raises:
        UsageError: it cannot be read, or does not fit together.
    """
    try:
        loaded = np.load(path, allow_pickle=False)
        arrays = {name: loaded[name] for name in loaded.files} if not isinstance(loaded, np.ndarray) else {"x": loaded}
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise UsageError(f"--data: {path} cannot be read as .npz: {error}") from None
    for name in ("x", "y"):
        if name not in arrays:
            raise UsageError(f"--data: {path} has no array {name!r}; it needs x (rows) and y (their classes)")
    for name in ("", *(f"{part}_" for part in PARTS)):
        _check(path, arrays, name)
    scale = Scale.of(arrays["x"], bounds)
    return _parts(arrays, scale, rng), scale


def _check(path: Path, arrays: dict[str, NDArray[Any]], prefix: str) -> None:
    values, classes = arrays.get(f"{prefix}x"), arrays.get(f"{prefix}y")
    if values is None:
        return
    whole = arrays["x"].shape[1:]
    if values.ndim < 2 or values.dtype.kind not in "fiu" or values.shape[1:] != whole:
        raise UsageError(
            f"--data: {path}: {prefix}x is {values.dtype} of shape {values.shape}; it must be numbers (rows, "
            f"{', '.join(map(str, whole)) or '...'})"
        )
    if prefix != "foreign_" and (
        classes is None or classes.shape != values.shape[:1] or classes.dtype.kind not in "iu"
    ):
        told = "missing" if classes is None else f"{classes.dtype} of shape {classes.shape}"
        raise UsageError(
            f"--data: {path}: {prefix}y is {told}; it must be {len(values)} whole numbers, {prefix}x's classes"
        )


def _parts(arrays: dict[str, NDArray[Any]], scale: Scale, rng: np.random.Generator) -> dict[str, Any]:
    rows = {name.removesuffix("_x"): scale.rows(values) for name, values in arrays.items() if name.endswith("x")}
    labels = {name.removesuffix("_y"): values.astype(np.int64) for name, values in arrays.items() if name.endswith("y")}
    order = rng.permutation(len(rows["x"]))
    own, others = (order, order[:0]) if "pool" in rows else (order[::2], order[1::2])
    empty = rows["x"][:0]
    return {
        "rows": rows["x"][own],
        "labels": labels["y"][own],
        "pool": rows.get("pool", rows["x"][others]),
        "pool_labels": labels.get("pool", labels["y"][others]),
        "members": rows.get("member", empty),
        "member_labels": labels.get("member", labels["y"][:0]),
        "foreign": rows.get("foreign", empty),
    }
