"""From a candidate to its publication: evaluate it and the served model, ask the gates, report, publish."""

import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from defenses.retraining import data, live, model
from defenses.retraining.card import card_of, write_card
from defenses.retraining.data import Datasets, Form, Rows
from defenses.retraining.evaluation import Evaluation, Material, Plan, evaluate
from defenses.retraining.export import export_like
from defenses.retraining.gates import Decision, judge, passed
from defenses.retraining.job import Job
from defenses.retraining.live import LiveError
from defenses.retraining.model import Classifier
from defenses.retraining.publish import PublishError, Versions, publishing
from defenses.retraining.report import write_report
from defenses.retraining.robustness.ensemble import Effort
from defenses.retraining.robustness.subject import of_classifier, of_saved_model
from defenses.retraining.schedule import note_success, stamp
from defenses.retraining.signatures import SignatureError, read_signatures
from defenses.retraining.sources import ModelSource
from defenses.retraining.trained import Trained
from defenses.retraining.warmup import write_warmup

MEMBERS = 1000
"""Training rows for membership inference, at most."""
Say = Callable[[str], None]


@dataclass(frozen=True)
class Conclusion:
    """What became of a candidate.

    Attributes:
        decisions: of all gates.
        outcome: a sentence.
        report: the HTML file.
        version: the published version's folder; None if it was refused, or nothing was to be published.
        passed: whether every gate let it through.
    """

    decisions: list[Decision]
    outcome: str
    report: Path
    version: Path | None
    passed: bool


def conclude(
    job: Job, trained: Trained, rows: Datasets, *, dry_run: bool = False, say: Say = lambda _: None
) -> Conclusion:
    """Evaluates, judges and publishes a candidate. `job.publish` must be there.

    Args:
        job: with sections `evaluate`, `gates` and `publish`.
        trained: what the training left.
        rows: of the job.
        dry_run: do all but publish.
        say: told of each step.

    Raises:
        DataError, EnsembleError, LiveError, ModelError, PublishError, ScheduleError, SignatureError, SubjectError: with
            the remedy.
    """
    assert job.publish is not None
    source = ModelSource(file=trained.candidate, gives=job.model.gives, input=job.model.input, range=job.model.range)
    classifier = model.load(source)
    with _versions(job.publish.base, dry_run) as versions:
        folder = versions.newest()
        material, plan = _material(job, rows, classifier), _plan(job)
        low, high = job.model.range
        served = evaluate(
            of_saved_model("served", folder, output=job.publish.output, low=low, high=high),
            material,
            plan,
            job.seed,
            say=say,
        )
        candidate = evaluate(
            of_classifier("candidate", classifier), material, plan, job.seed, transferred=served.adversarial, say=say
        )
        made = job.output / "export"
        decisions = _judged(job, candidate, served, folder, classifier, material, made)
        for each in decisions:
            say(f"{'passed' if each.passed else 'refused'} by the gate of {each.gate}: {each.reason}")
        card = card_of(
            job.name, stamp(time.time()), json.loads(trained.manifest.read_text()), candidate, served, decisions
        )
        version = None
        if passed(decisions) and not dry_run:
            version, complaints = _published(job, versions, lambda aside: _complete(job, made, aside, card, material))
            if complaints:
                decisions.append(Decision("live metrics", False, " ".join(complaints)))
            elif job.publish.textfile is not None:
                note_success(job.publish.textfile, job.name, time.time())
        outcome = _outcome(decisions, folder, version)
        report = write_report(
            job.output, card, candidate, served, decisions, outcome, material.rows, _history(trained.metrics)
        )
    shutil.rmtree(made, ignore_errors=True)
    return Conclusion(decisions, outcome, report, version, passed(decisions))


@contextmanager
def _versions(base: Path, dry_run: bool) -> Iterator[Versions]:
    if not base.is_dir():
        raise PublishError(f"publish.base: there is no folder {base}; name the one that the model server watches")
    if dry_run:  # writes nothing there, not even a lock
        yield Versions(base)
        return
    with publishing(base) as versions:
        yield versions


def _material(job: Job, rows: Datasets, classifier: Classifier) -> Material:
    rng = np.random.default_rng([job.seed, 1])
    judged = _some(rows.test if rows.test is not None else rows.validation, job.evaluate.rows, rng)
    members = _some(rows.train, min(MEMBERS, len(judged)), rng)
    captured = None
    if job.evaluate.captured is not None:
        form = Form(classifier.shape, classifier.classes, classifier.lower, classifier.upper)
        captured = data.read(job.evaluate.captured, form, "evaluate.captured")
    return Material(
        judged.x,
        judged.y,
        members.x,
        members.y,
        None if captured is None else captured.x,
        None if captured is None else captured.y,
    )


def _some(rows: Rows, most: int, rng: np.random.Generator) -> Rows:
    return rows if len(rows) <= most else rows.take(np.sort(rng.choice(len(rows), most, replace=False)))


def _plan(job: Job) -> Plan:
    wanted = job.evaluate
    return Plan(
        epsilon=wanted.epsilon or job.epsilon.value,
        norm=job.norm,
        steps=wanted.steps,
        restarts=wanted.restarts,
        effort=Effort(wanted.apgd_steps, wanted.apgd_restarts, wanted.square_queries),
    )


def _judged(
    job: Job,
    candidate: Evaluation,
    served: Evaluation,
    folder: Path,
    classifier: Classifier,
    material: Material,
    made: Path,
) -> list[Decision]:
    """All gates' decisions; the candidate is exported to `made` on the way."""
    shutil.rmtree(made, ignore_errors=True)
    promised = read_signatures(folder)
    try:
        export_like(folder, classifier, material.rows, made)
    except SignatureError as error:
        others = judge(candidate, served, promised, promised, job.gates)[:-1]
        return [*others, Decision("signatures", False, f"callers would notice: {error}.")]
    return judge(candidate, served, read_signatures(made), promised, job.gates)


def _complete(job: Job, made: Path, aside: Path, card: dict[str, Any], material: Material) -> None:
    shutil.copytree(made, aside)
    write_warmup(aside, job.name, read_signatures(aside), material.rows)
    write_card(aside, card)


def _published(job: Job, versions: Versions, write: Callable[[Path], None]) -> tuple[Path | None, list[str]]:
    """The version's folder, or why it was withdrawn again."""
    watch = job.publish.watch if job.publish is not None else None
    if watch is None:
        return versions.publish(write), []
    token = os.environ.get("TENSORWALL_ADMIN_TOKEN")
    before = live.read(watch.metrics, job.name, token)
    version = versions.publish(write)
    time.sleep(watch.seconds)
    try:
        after = live.read(watch.metrics, job.name, token).since(before)
        complaints = live.worse(before, after, watch.failed_share, watch.slower)
    except LiveError as error:
        complaints = [f"nobody can say how callers fare: {error}."]
    if not complaints:
        return version, []
    versions.withdraw(int(version.name))
    return None, complaints


def _outcome(decisions: list[Decision], served: Path, version: Path | None) -> str:
    refused = [each.gate for each in decisions if not each.passed]
    if refused:
        return f"Refused by {' and '.join(refused)}; {served} stays."
    if version is None:
        return "Passed every gate; nothing was published, as this was a dry run."
    return f"Published as {version}, in place of {served}."


def _history(metrics: Path) -> list[dict[str, Any]]:
    if not metrics.is_file():
        return []
    return [json.loads(line) for line in metrics.read_text().splitlines() if line.strip()]
