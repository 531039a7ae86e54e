"""One retraining run, from the job to the candidate and its manifest."""

import os
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

import keras
import tensorflow as tf

from defenses.retraining import captured, cluster, data, manifest, model
from defenses.retraining.captured import Admitted
from defenses.retraining.data import Datasets
from defenses.retraining.job import Job
from defenses.retraining.loop import Loop, TrainingError
from defenses.retraining.model import Classifier
from defenses.retraining.trained import Trained

_FEW = 32
"""Rows that show what a model answers."""


@dataclass(frozen=True)
class Prepared:
    """A run whose inputs were read and checked.

    Attributes:
        job: as asked for.
        strategy: of tf.distribute.
        chief: whether this worker writes the files.
        classifier: the model, within the strategy's scope.
        rows: of the job; with those of callers, if any were let in.
        admitted: what is to be said about rows of callers; None if the job names none.
        loop: at the step where it was left, or at 0.
    """

    job: Job
    strategy: Any
    chief: bool
    classifier: Classifier
    rows: Datasets
    admitted: Admitted | None
    loop: Loop


def prepare(job: Job, strategy: Any = None) -> Prepared:
    """Reads and checks everything, and makes the output folder.

    Args:
        job: what to do.
        strategy: of tf.distribute, instead of the job's.

    Raises:
        ModelError, DataError, TrainingError, CheckpointError: with the remedy.
    """
    keras.utils.set_random_seed(job.seed)
    strategy = strategy or _strategy(job)
    with strategy.scope():
        classifier = model.load(job.model)
    form = data.Form(classifier.shape, classifier.classes, classifier.lower, classifier.upper)
    rows, admitted = data.load(job.data, form, job.seed), None
    model.check(classifier, rows.train.x[:_FEW])
    if job.evaluate.captured is not None:
        rows = replace(rows, captured=data.read(job.evaluate.captured, form, "evaluate.captured"))
    if job.data.captured is not None:
        admitted = captured.admit(job.data.captured, rows.train, form, job.seed)
        rows = replace(rows, train=admitted.rows)
    try:
        job.output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise TrainingError(f"output: {job.output} cannot be made: {error.strerror}; name another folder") from None
    chief = _chief(strategy)
    loop = Loop(job, classifier, rows, strategy, chief, manifest.digest(job, rows))
    return Prepared(job, strategy, chief, classifier, rows, admitted, loop)


def train(prepared: Prepared, step_done: Callable[[int], object] = lambda _: None) -> Trained:
    """Trains to the end, and writes candidate and manifest. The checkpoint stays until `finish`.

    Raises:
        TrainingError: the loss is no longer finite, or another worker has ended.
    """
    job, loop, now = prepared.job, prepared.loop, prepared.loop.progress
    try:
        loop.run(step_done)
    except (tf.errors.AbortedError, tf.errors.UnavailableError):
        raise TrainingError(
            "strategy: another worker of TF_CONFIG has ended, and none can train without the others; see what it said, "
            "and start all of them again"
        ) from None
    candidate, written = job.output / "candidate.keras", job.output / "manifest.json"
    result = Trained(
        candidate=candidate,
        metrics=job.output / "metrics.jsonl",
        manifest=written,
        steps=now.step,
        seconds=now.seconds,
        ended=now.ended,
        best_step=now.best_step,
        robust=loop.checked["robust"],
        clean=loop.checked["clean"],
        certified=loop.checked.get("certified"),
        spent=loop.spent,
        chief=prepared.chief,
    )
    if prepared.chief:
        prepared.classifier.save(candidate)
        results = {"steps": now.step, "seconds": now.seconds, "ended": now.ended, "best_step": now.best_step}
        weights = manifest.weights_sha256(prepared.classifier)
        checked = {"check": loop.checked, "candidate": manifest.sha256(candidate), "weights": weights}
        private = {} if loop.spent is None else {"privacy": asdict(loop.spent)}
        manifest.write(written, job, prepared.rows, results | checked | private | _captured(prepared.admitted))
    return result


def finish(prepared: Prepared) -> None:
    """Removes the checkpoint, so that the next run of the job trains anew.

    To be called when all is done: a run that is killed before goes on where it was, without training again.
    """
    prepared.loop.remove_checkpoint()


def _captured(admitted: Admitted | None) -> dict[str, Any]:
    if admitted is None:
        return {}
    return {"captured": {"rows": admitted.added, "findings": [asdict(finding) for finding in admitted.findings]}}


def _strategy(job: Job) -> Any:
    if job.strategy == "mirrored":
        return tf.distribute.MirroredStrategy()
    if job.strategy == "multi_worker":
        value = os.environ.get("TF_CONFIG")
        if (wrong := cluster.complaint(value)) is not None:
            raise TrainingError(f"strategy: {wrong}")
        try:
            return tf.distribute.MultiWorkerMirroredStrategy()
        except tf.errors.OpError as error:
            raise TrainingError(
                f"strategy: TensorFlow cannot join the cluster of TF_CONFIG {value!r}: {error.message}; "
                "give this worker a free port of its machine, and start the others"
            ) from None
    return tf.distribute.get_strategy()


def _chief(strategy: Any) -> bool:
    """By TF_CONFIG: the task `chief`, or worker 0 where there is none."""
    resolver = strategy.cluster_resolver
    if resolver is None or not resolver.task_type:
        return True
    return resolver.task_type == "chief" or (
        resolver.task_type == "worker" and resolver.task_id == 0 and "chief" not in resolver.cluster_spec().jobs
    )
