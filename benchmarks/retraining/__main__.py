"""Trains a network by every method for a stated time, attacks each, and prints the table.

    python -m benchmarks.retraining --minutes 30

Everything is kept under build/retraining: what was interrupted goes on where it was, method by method, and what is done
is not done again. Writes bench-retraining.json and bench-retraining.png into build/. Without --minutes, each method
trains for half an hour, and is attacked for some minutes.
"""

import argparse
import contextlib
import json
import time
from pathlib import Path
from typing import Any, cast

import numpy as np
from tqdm import tqdm

from benchmarks.retraining import report
from benchmarks.retraining.methods import EPSILON, METHODS, network
from defenses.retraining import run
from defenses.retraining.evaluation import Material, Plan, evaluate
from defenses.retraining.job import Job
from defenses.retraining.robustness.ensemble import Effort
from defenses.retraining.robustness.subject import of_classifier
from proxy.demo.data import CHOICES, Choice, Dataset, load

BATCH = 128
VALIDATION = 0.05
TIMED = 8
"""Steps that say how long an epoch takes; the first few, which are compiled, left out."""
EFFORTS = {
    "full": Plan(EPSILON, steps=50, restarts=10, effort=Effort(steps=100, queries=5000)),
    "tiny": Plan(EPSILON, steps=5, restarts=1, effort=Effort(steps=5, queries=20)),
}


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.retraining", description="Compares the methods.")
    parser.add_argument("--minutes", type=float, default=30.0, help="of training, each (default: %(default)s)")
    parser.add_argument("--data", choices=CHOICES, default="auto", help="images (default: %(default)s)")
    parser.add_argument("--rows", type=int, default=1000, help="of the test images, to attack (default: %(default)s)")
    parser.add_argument("--effort", choices=EFFORTS, default="full", help="of the attacks (default: %(default)s)")
    parser.add_argument(
        "--methods", nargs="+", choices=METHODS, default=list(METHODS), metavar="NAME", help="some only"
    )
    parser.add_argument("--out", type=Path, default=Path("build"), metavar="FOLDER", help="default: %(default)s")
    asked = parser.parse_args(arguments)
    images = load(cast(Choice, asked.data))
    work = asked.out / "retraining" / f"{images.name}-{asked.minutes:g}min"
    work.mkdir(parents=True, exist_ok=True)
    rows = work / "train.npz"
    if not rows.exists():
        np.savez(rows, x=images.x_train, y=images.y_train)
    results = {}
    for name in asked.methods:
        folder = work / name.lower().replace(", ", "-").replace(" ", "-")
        results[name] = _result(name, folder, rows, images, asked)
        _written(asked, images, results)
    title = f"{images.name}, L-inf {EPSILON:g}, {asked.minutes:g} minutes of training each, {asked.rows:,} test images"
    report.plot(title, results, asked.out / "bench-retraining.png")
    print("\n" + report.markdown(title, EFFORTS[asked.effort].pgd, results))


def _result(name: str, folder: Path, rows: Path, images: Dataset, asked: argparse.Namespace) -> dict[str, Any]:
    kept = folder / f"result-{asked.effort}-{asked.rows}.json"
    if kept.exists():
        print(f"{name}: as measured before, {kept}", flush=True)
        return cast(dict[str, Any], json.loads(kept.read_text()))
    job = _job(name, folder, rows, images.x_train.shape[1], _epochs(name, folder, rows, images, asked.minutes))
    prepared = run.prepare(job)
    with tqdm(total=prepared.loop.steps, initial=prepared.loop.progress.step, desc=name, disable=None) as progress:
        trained = run.train(prepared, lambda step: progress.update(step - progress.n))
    material = Material(images.x_test[: asked.rows], images.y_test[: asked.rows].astype(np.int64))
    plan = EFFORTS[asked.effort]
    found = evaluate(
        of_classifier(name, prepared.classifier), material, plan, 0, say=lambda line: print(line, flush=True)
    )
    shares = found.shares()
    result = {
        "clean": shares["clean"]._asdict(),
        "pgd": shares[plan.pgd]._asdict(),
        "ensemble": shares["robust"]._asdict(),
        "certified": trained.certified,
        "seconds": trained.seconds,
        "epochs": job.training.epochs,
        "contradictions": found.contradictions,
    }
    partial = kept.with_suffix(".unfinished")
    partial.write_text(json.dumps(result, indent=1) + "\n")
    partial.replace(kept)
    run.finish(prepared)
    return result


def _epochs(name: str, folder: Path, rows: Path, images: Dataset, minutes: float) -> int:
    """So many fit into the time; measured once, since a resumed run has to keep its schedules."""
    kept = folder / "epochs"
    if kept.exists():
        return int(kept.read_text())
    probe = _job(name, folder / "probe", rows, images.x_train.shape[1], 10_000, checks=False)
    prepared, at = run.prepare(probe), list[float]()

    class Enough(Exception):  # noqa: N818  # not an error
        pass

    def timed(step: int) -> None:
        at.append(time.monotonic())
        if step == 2 * TIMED:
            raise Enough

    with contextlib.suppress(Enough):
        run.train(prepared, timed)
    run.finish(prepared)
    per_step = float(np.median(np.diff(at[TIMED:])))
    per_epoch = per_step * (len(prepared.rows.train) // BATCH)
    epochs = max(1, int(0.9 * 60 * minutes / per_epoch))  # the rest is for checks
    folder.mkdir(parents=True, exist_ok=True)
    kept.write_text(f"{epochs}\n")
    print(f"{name}: {per_epoch:.1f} s an epoch, {epochs} epochs", flush=True)
    return epochs


def _job(name: str, folder: Path, rows: Path, side: int, epochs: int, checks: bool = True) -> Job:
    asked = dict(METHODS[name])
    ramp = round(asked.pop("ramp", 0.0) * epochs, 3)
    return Job.model_validate(
        {
            "name": "bench",
            "model": {
                "factory": f"{network.__module__}:{network.__name__}",
                "settings": {"side": side},
                "gives": "logits",
            },
            "data": {"train": {"kind": "npz", "file": str(rows)}, "validation": VALIDATION},
            "epsilon": {"value": EPSILON * asked.pop("radius", 1.0), "ramp_epochs": ramp},
            "training": {
                "epochs": epochs,
                "batch": BATCH,
                "optimizer": {"learning_rate": 1e-3},
                "average": 0.995,
                "check": {"every_epochs": max(1, epochs // 10) if checks else epochs, "rows": 500, "steps": 10},
            },
            "output": str(folder),
            **asked,
        }
    )


def _written(asked: argparse.Namespace, images: Dataset, results: dict[str, Any]) -> None:
    figures = {
        "data": images.name,
        "epsilon": EPSILON,
        "minutes": asked.minutes,
        "rows": asked.rows,
        "methods": results,
    }
    (asked.out / "bench-retraining.json").write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
