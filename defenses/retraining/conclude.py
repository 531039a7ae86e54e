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
import tensorflow as tf

from defenses.retraining import live, model
from defenses.retraining.card import FOLDER, JSON, card_of, write_card
from defenses.retraining.data import Datasets, Rows
from defenses.retraining.deployment import Deployment, DeploymentError
from defenses.retraining.evaluation import Material, Plan, evaluate
from defenses.retraining.export import export_like
from defenses.retraining.gates import Decision, as_json, judge, passed
from defenses.retraining.job import Job
from defenses.retraining.live import LiveError
from defenses.retraining.model import Classifier
from defenses.retraining.publish import PublishError, Versions, publishing
from defenses.retraining.report import HTML, write_report
from defenses.retraining.robustness.ensemble import Effort
from defenses.retraining.robustness.subject import of_classifier, of_saved_model
from defenses.retraining.schedule import ScheduleError, note_success, push_success, stamp
from defenses.retraining.signatures import SignatureError, read_signatures
from defenses.retraining.sources import ModelSource
from defenses.retraining.trained import Trained
from defenses.retraining.warmup import write_warmup

MEMBERS = 1000
"""Training rows for membership inference, at most."""
Say = Callable[[str], None]
Learn = Callable[[Path], Callable[[], str]]
"""Learns a version's benign profile, and gives what writes it."""


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


def check(job: Job, shape: tuple[int, ...]) -> str | None:
    """Whether a candidate could be judged and published, told before it is trained. `job.publish` must be there.

    Args:
        job: of the run.
        shape: of a row, as the candidate takes it.

    Returns:
        Why the gate of signatures will refuse any candidate of this shape, a sentence; None if that is open.

    Raises:
        PublishError, ScheduleError, SignatureError, SubjectError: with the remedy.
    """
    assert job.publish is not None
    with versions_of(job, dry_run=True) as versions:
        folder = versions.newest()
    read_signatures(folder)
    low, high = job.model.range
    served = of_saved_model("served", folder, output=job.publish.output, low=low, high=high)
    textfile = job.publish.textfile
    if textfile is not None and not (textfile.parent.is_dir() and os.access(textfile.parent, os.W_OK)):
        raise ScheduleError(f"publish.textfile: {textfile.parent} is no folder that can be written; make it")
    try:
        tf.function(served.logits)(tf.fill((1, *shape), low))  # in a graph, as attacks do, or shapes count for less
    except Exception:  # whatever a foreign graph does with rows of another shape
        return f"{folder} does not take rows of {shape}, as the model of the job does; retrain one of the same input."
    return None


@contextmanager
def versions_of(job: Job, dry_run: bool) -> Iterator[Versions]:
    """The served versions, locked for this run unless it is to publish nothing. `job.publish` must be there.

    To be taken before the training, so that a run that cannot publish does not train first, and held to the end.

    Raises:
        BusyError: another run publishes there.
        PublishError: there is no such folder, or it cannot be written.
    """
    assert job.publish is not None
    base = job.publish.base
    if not base.is_dir():
        raise PublishError(f"publish.base: there is no folder {base}; name the one that the model server watches")
    if dry_run:  # writes nothing there, not even a lock
        yield Versions(base)
        return
    with publishing(base, f"the retraining of {job.name}") as versions:
        yield versions


def conclude(
    job: Job,
    trained: Trained,
    rows: Datasets,
    versions: Versions,
    *,
    dry_run: bool = False,
    deployment: Deployment | None = None,
    say: Say = lambda _: None,
) -> Conclusion:
    """Evaluates, judges and publishes a candidate. `job.publish` must be there.

    A run that was killed after its publication finds its version served, and publishes no second one.

    Args:
        job: with sections `evaluate`, `gates` and `publish`.
        trained: what the training left.
        rows: of the job.
        versions: of `versions_of`, with the same `dry_run`.
        dry_run: do all but publish.
        deployment: tries models behind the proxy, and learns the new benign profile.
        say: told of each step.

    Raises:
        DataError, DeploymentError, EnsembleError, LiveError, ModelError, PublishError, SignatureError, SubjectError:
            with the remedy.
    """
    assert job.publish is not None
    training = json.loads(trained.manifest.read_text())
    folder = versions.newest()
    if _weights_of(folder) == training.get("weights", ""):
        return _served_already(job, versions, folder, dry_run, _learning(job, deployment, rows))
    return _judged_and_published(job, trained, training, rows, versions, folder, dry_run, deployment, say)


def _judged_and_published(
    job: Job,
    trained: Trained,
    training: dict[str, Any],
    rows: Datasets,
    versions: Versions,
    folder: Path,
    dry_run: bool,
    deployment: Deployment | None,
    say: Say,
) -> Conclusion:
    source = ModelSource(file=trained.candidate, gives=job.model.gives, input=job.model.input, range=job.model.range)
    classifier = model.load(source)
    material, plan, made = _material(job, rows), _plan(job), job.output / "export"
    low, high = job.model.range
    output = job.publish.output if job.publish is not None else None
    served_subject = of_saved_model("served", folder, output=output, low=low, high=high)
    served = evaluate(served_subject, material, plan, job.seed, say=say)
    candidate = evaluate(
        of_classifier("candidate", classifier), material, plan, job.seed, transferred=served.adversarial, say=say
    )
    unlike = _exported(folder, classifier, material, made)
    if deployment is not None and unlike is None:
        served = deployment.attacked(served, folder, material)
        candidate = deployment.attacked(candidate, made, material)
    promised = read_signatures(folder)
    decisions = judge(candidate, served, promised if unlike else read_signatures(made), promised, job.gates)
    if unlike is not None:
        decisions[-1] = Decision("signatures", False, f"callers would notice: {unlike}.")
    for each in decisions:
        say(f"{'passed' if each.passed else 'refused'} by the gate of {each.gate}: {each.reason}")
    card = card_of(job.name, stamp(time.time()), training, candidate, served, decisions)

    def reported(outcome: str) -> Path:
        history = _history(trained.metrics)
        return write_report(job.output, card, candidate, served, decisions, outcome, material.rows, history)

    version, noted = None, ""
    if passed(decisions) and not dry_run:
        learn = _learning(job, deployment, rows)
        write_profile = None if learn is None else learn(made)
        reported(f"Passed every gate; to be published in place of {folder}.")  # should this run be killed on the way
        version, complaints = _published(job, versions, lambda aside: _complete(job, made, aside, card, material))
        if complaints:
            decisions.append(Decision("live metrics", False, " ".join(complaints)))
        else:
            noted = _noted(job, write_profile)
    outcome = _outcome(decisions, folder, version) + noted
    card["gates"] = as_json(decisions)
    report = reported(outcome)
    shutil.rmtree(made, ignore_errors=True)
    return Conclusion(decisions, outcome, report, version, passed(decisions))


def _weights_of(version: Path) -> str | None:
    """SHA-256 of the weights of a version that was published from here; None of any other."""
    try:
        card = json.loads((version / FOLDER / JSON).read_text())
        return str(card["training"]["weights"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _learning(job: Job, deployment: Deployment | None, rows: Datasets) -> Learn | None:
    if deployment is None or job.proxy is None or job.proxy.profile is None:
        return None
    return lambda folder: deployment.profile(folder, rows.validation.x)


def _served_already(job: Job, versions: Versions, folder: Path, dry_run: bool, learn: Learn | None) -> Conclusion:
    decisions, version = list[Decision](), folder
    outcome = f"These very weights are served already, as {folder}."
    if not dry_run:
        complaints = _watched(job, versions, folder)
        if complaints:
            decisions.append(Decision("live metrics", False, " ".join(complaints)))
            outcome = f"Refused by live metrics; {folder} was withdrawn."
        else:
            outcome += _noted(job, None if learn is None else learn(folder))
    return Conclusion(decisions, outcome, job.output / HTML, version if passed(decisions) else None, passed(decisions))


def _material(job: Job, rows: Datasets) -> Material:
    rng = np.random.default_rng([job.seed, 1])
    judged = _some(rows.test if rows.test is not None else rows.validation, job.evaluate.rows, rng)
    members = _some(rows.train, min(MEMBERS, len(judged)), rng)
    captured = rows.captured
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


def _exported(folder: Path, classifier: Classifier, material: Material, made: Path) -> str | None:
    """Exports the candidate to `made`; why it cannot take the served model's place, or None."""
    shutil.rmtree(made, ignore_errors=True)
    try:
        export_like(folder, classifier, material.rows, made)
    except SignatureError as error:
        return str(error)
    return None


def _complete(job: Job, made: Path, aside: Path, card: dict[str, Any], material: Material) -> None:
    shutil.copytree(made, aside)
    write_warmup(aside, job.name, read_signatures(aside), material.rows)
    write_card(aside, card)


def _published(job: Job, versions: Versions, write: Callable[[Path], None]) -> tuple[Path | None, list[str]]:
    """The version's folder, or why it was withdrawn again."""
    before = _live(job)
    version = versions.publish(write)
    complaints = _watched(job, versions, version, before)
    return (None if complaints else version), complaints


def _live(job: Job) -> live.Reading | None:
    watch = job.publish.watch if job.publish is not None else None
    return None if watch is None else live.read(watch.metrics, job.name, os.environ.get("TENSORWALL_ADMIN_TOKEN"))


def _watched(job: Job, versions: Versions, version: Path, before: live.Reading | None = None) -> list[str]:
    """Why callers are worse off with a version, which is then withdrawn; empty if they are not, or nobody looks."""
    watch = job.publish.watch if job.publish is not None else None
    if watch is None:
        return []
    try:
        before = before or _live(job)
        time.sleep(watch.seconds)
        now = _live(job)
        assert before is not None
        assert now is not None
        complaints = live.worse(before, now.since(before), watch.failed_share, watch.slower)
    except LiveError as error:
        complaints = [f"nobody can say how callers fare: {error}."]
    if complaints:
        versions.withdraw(int(version.name))
    return complaints


def _noted(job: Job, write_profile: Callable[[], str] | None) -> str:
    """Tells the world of a success. What fails here undoes nothing, and is told as well."""
    assert job.publish is not None
    now, told = time.time(), list[str]()
    try:
        if write_profile is not None:
            told.append(write_profile())
        if job.publish.textfile is not None:
            note_success(job.publish.textfile, job.name, now)
        if job.publish.pushgateway is not None:
            push_success(job.publish.pushgateway, job.name, now)
    except (DeploymentError, ScheduleError) as error:
        told.append(f"Yet {error}.")
    return "".join(f" {each}" for each in told)


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
