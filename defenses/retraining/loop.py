"""The loop over steps: order of rows, schedules, checks, checkpoints and metrics.

Whatever a step depends on follows from the job and the number of the step, so that a run that was killed goes on from
its checkpoint to the weights that it would have had.
"""

import json
import time
from collections.abc import Callable
from functools import cached_property
from typing import Any, cast

import keras
import numpy as np
import tensorflow as tf

from defenses.retraining import attacks, bounds, checkpoint, crown, optimizer, privacy, recipes, sampling
from defenses.retraining.checkpoint import Progress
from defenses.retraining.data import Datasets
from defenses.retraining.job import Job
from defenses.retraining.methods import method_of
from defenses.retraining.model import Classifier
from defenses.retraining.step import Stepper

_CHECK_BATCH = 500


class TrainingError(Exception):
    """Training cannot begin or go on; the message says why, and the remedy."""


class Loop:
    """One run of training.

    Attributes:
        progress: where it is; the model has the weights that belong to it.
        checked: rates of the last check: clean, robust, and certified under IBP.
    """

    def __init__(
        self, job: Job, classifier: Classifier, rows: Datasets, strategy: Any, chief: bool, digest: str
    ) -> None:
        """A checkpoint of the same `digest` is gone on from.

        Raises:
            TrainingError: the batch does not fit the rows or the replicas, or the method the network.
        """
        train = rows.train
        self._job, self._classifier, self._train, self._chief, self._digest = job, classifier, train, chief, digest
        self._validation = rows.validation.take(slice(job.training.check.rows))
        self._per_epoch = len(train) // job.training.batch
        self._steps = self._per_epoch * job.training.epochs
        self._replicas = strategy.num_replicas_in_sync
        self._certify = isinstance(job.method, recipes.Bounded)
        self._refuse(self._replicas)
        with strategy.scope():
            self._stepper = Stepper(job, classifier, strategy)
        self.progress = Progress()
        self.checked: dict[str, float] = {}
        self._metrics = job.output / "metrics.jsonl"
        self._checkpoint = job.output / "checkpoint.npz"
        self._resume()

    def run(self, step_done: Callable[[int], object] = lambda _: None) -> None:
        """Trains to the end; the model then has its final weights. `step_done` is told the number of steps done."""
        self._keep_metrics()
        now = self.progress
        step, saved = self._compiled(), time.monotonic()
        began = time.monotonic() - now.seconds
        while not now.ended:
            guarded = now.guarded
            self._advance(step, time.monotonic() - began)
            step_done(now.step)
            if now.ended or now.step % (self._per_epoch * self._job.training.check.every_epochs) == 0:
                self._check()
            if now.guarded != guarded:
                step = self._compiled()
            if now.ended or time.monotonic() - saved >= self._job.training.checkpoint_seconds:
                self._save()
                saved = time.monotonic()
        self._finish()

    @property
    def steps(self) -> int:
        """Of the whole run."""
        return self._steps

    @property
    def spent(self) -> privacy.Spent | None:
        """The privacy that the steps done have spent; None without."""
        wanted = self._job.privacy
        if wanted is None:
            return None
        rate = self._job.training.batch / len(self._train)
        return privacy.spent(rate, wanted.noise, self.progress.step, wanted.delta)

    def remove_checkpoint(self) -> None:
        """So that the next run of the job starts anew."""
        if self._chief:
            self._checkpoint.unlink(missing_ok=True)

    def _refuse(self, replicas: int) -> None:
        batch = self._job.training.batch
        if not self._per_epoch:
            raise TrainingError(f"training.batch: {batch} rows a step are more than the {len(self._train)} to train on")
        if batch % replicas:
            raise TrainingError(f"training.batch: {batch} rows cannot be shared evenly by {replicas} replicas")
        bounded = crown if isinstance(self._job.method, recipes.CrownIbp) else bounds
        if self._certify and (reason := bounded.unsupported(self._classifier.network.layers)):
            raise TrainingError(f"method: there are no interval bounds for this model: {reason}; take another method")
        if self._job.privacy is not None and _mixes_rows(self._classifier.whole):
            raise TrainingError(
                "privacy: the model normalises over the rows of a batch, so that no row's gradient is its own; take "
                "LayerNormalization or GroupNormalization instead"
            )

    def _resume(self) -> None:
        found = checkpoint.read(self._checkpoint, self._digest)
        if found is not None:
            self.progress, values = found
            self._assign(values)
        elif self._job.privacy is not None:
            self.progress.key = sampling.new_key()
        batch, rows = self._job.training.batch, len(self._train)
        if self._job.privacy is None:
            self._sampled = sampling.shuffled(self._job.seed, rows, batch)
        else:
            self._sampled = sampling.poisson(self.progress.key, rows, batch, self._replicas)

    def _keep_metrics(self) -> None:
        """Those of the steps that are not made again; none, if training begins anew."""
        done = self.progress.step
        if self._chief:
            lines = self._metrics.read_text().splitlines() if done and self._metrics.exists() else []
            kept = [line for line in lines if _step_of(line) <= done]
            self._metrics.write_text("".join(line + "\n" for line in kept))

    def _compiled(self) -> Callable[..., Any]:
        recipe = self._job.method
        if self.progress.guarded and isinstance(recipe, recipes.FgsmRs):
            recipe = recipes.Pgd(kind="pgd", steps=recipe.guard_steps, step=1.25 / recipe.guard_steps)
        return self._stepper.compiled(method_of(recipe))

    def _advance(self, step: Callable[..., Any], clock: float) -> None:
        now, job = self.progress, self._job
        rows, present = self._sampled(now.step)
        epsilon, rate = self._epsilon(), optimizer.rate(job.training.optimizer, now.step, self._steps)
        numbers = (tf.constant(now.step), *(tf.constant(value, tf.float32) for value in (epsilon, rate, clock)))
        perturb = job.awp is not None and now.step // self._per_epoch >= job.awp.from_epoch
        x, y, key = self._train.x[rows], self._train.y[rows], np.frombuffer(bytes.fromhex(now.key[:16]), np.int32)
        loss, right, seconds = step(*map(tf.constant, (x, y, present, key)), *numbers, perturb)
        if not np.isfinite(loss):
            raise TrainingError(f"the loss of step {now.step} is {loss:g}; lower training.optimizer.learning_rate")
        now.step, now.seconds = now.step + 1, float(seconds)
        now.loss, now.right, now.rows = now.loss + float(loss), now.right + float(right), now.rows + int(present.sum())
        if now.step == self._steps:
            now.ended = "epochs"
        elif job.training.seconds is not None and now.seconds >= job.training.seconds:
            now.ended = "seconds"
        if now.ended or now.step % self._per_epoch == 0:
            seen = max(now.rows, 1)
            rates = {"loss": now.loss / seen, "accuracy": now.right / seen}
            self._record("epoch", **rates, epsilon=epsilon, learning_rate=rate)
            now.loss, now.right, now.rows = 0.0, 0.0, 0

    def _epsilon(self) -> float:
        schedule = self._job.epsilon
        ramp = schedule.ramp_epochs * self._per_epoch
        share = 1.0 if self.progress.step >= ramp else self.progress.step / ramp
        return schedule.start + share * (schedule.value - schedule.start)

    def _check(self) -> None:
        now, check = self.progress, self._job.training.check
        with self._stepper.averaged():
            self.checked = self._measure()
            robust = self.checked["robust"]
            fell = isinstance(self._job.method, recipes.FgsmRs) and robust < now.best_robust - self._job.method.guard
            if robust > now.best_robust or self._ramping():
                now.best_robust, now.best_step, now.unimproved = robust, now.step, 0
                now.best = {name: _array(variable) for name, variable in self._stepper.weights.items()}
            else:
                now.unimproved += 1
        self._record("check", **self.checked)
        if fell and not now.guarded:
            self._assign(now.best)
            now.guarded = True
            self._record("guard", restored_step=now.best_step)
        elif check.patience is not None and now.unimproved >= check.patience and not now.ended:
            now.ended = "patience"

    def _ramping(self) -> bool:
        """While epsilon grows, a check is no better for having been made against a smaller one."""
        return self.progress.step < self._job.epsilon.ramp_epochs * self._per_epoch

    def _measure(self) -> dict[str, float]:
        rows = self._validation
        sums: dict[str, float] = {}
        for first in range(0, len(rows), _CHECK_BATCH):
            part = rows.take(slice(first, first + _CHECK_BATCH))
            for name, count in self._counts(tf.constant(part.x), tf.constant(part.y)).items():
                sums[name] = sums.get(name, 0.0) + float(count)
        return {name: count / len(rows) for name, count in sums.items()}

    @cached_property
    def _counts(self) -> Callable[..., Any]:
        return cast(Callable[..., Any], tf.function(self._count, autograph=False))

    def _count(self, x: Any, y: Any) -> dict[str, Any]:
        job, check, logits = self._job, self._job.training.check, self._classifier.logits
        ball = attacks.Ball(job.norm, job.epsilon.value, self._classifier.lower, self._classifier.upper)
        _, fooled = attacks.pgd_restarts(logits, x, y, ball, check.steps, check.restarts, self._job.seed)
        right = {"clean": ~attacks.wrong(logits(x), y), "robust": ~fooled}
        if self._certify:
            right["certified"] = bounds.certified(self._classifier.network.layers, x, y, ball)
        return {name: tf.reduce_sum(tf.cast(rows, tf.float32)) for name, rows in right.items()}

    def _finish(self) -> None:
        """Leaves the model with the weights that count: the best check's, or the last ones, averaged if so wished."""
        now = self.progress
        wants_best = self._job.training.check.patience is not None or now.guarded
        if wants_best and now.best:
            self._assign(now.best)
        else:
            self._stepper.averaged().__enter__()
            now.best_step = now.step
        self.checked = self._measure()

    def _save(self) -> None:
        if self._chief:
            values = {name: _array(variable) for name, variable in self._stepper.variables.items()}
            checkpoint.write(self._checkpoint, self._digest, self.progress, values)

    def _assign(self, values: checkpoint.Arrays) -> None:
        for name, value in values.items():
            self._stepper.variables[name].assign(value)

    def _record(self, kind: str, **values: float) -> None:
        if self._chief:
            now = self.progress
            head = {"kind": kind, "step": now.step, "epoch": now.step / self._per_epoch, "seconds": now.seconds}
            with self._metrics.open("a") as file:
                file.write(json.dumps(head | values) + "\n")


def _mixes_rows(model: Any) -> bool:
    """Whether a row's answer in training depends on the rows beside it."""
    return any(
        isinstance(layer, keras.layers.BatchNormalization) or _mixes_rows(layer)
        for layer in getattr(model, "layers", ())
    )


def _array(variable: Any) -> Any:
    return np.array(tf.convert_to_tensor(variable))


def _step_of(line: str) -> float:
    """Of a line of metrics; a line that a kill cut short counts as later than any."""
    try:
        return float(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return float("inf")
