"""One step of training under tf.distribute, the same whatever the number of replicas.

Each replica gets the whole batch and takes its own part of the rows and of the noise, both of which follow from the
seed and the number of the step alone. Gradients are summed over replicas; variables change across replicas.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import tensorflow as tf

from defenses.retraining import attacks, optimizer, privacy
from defenses.retraining.attacks import Ball, Tensor
from defenses.retraining.job import Job
from defenses.retraining.methods import Batch, Method
from defenses.retraining.model import Classifier


class Stepper:
    """The variables of a run, and the graph that changes them. To be made within the strategy's scope.

    Attributes:
        variables: name to variable, all that a checkpoint needs.
        weights: the part of them that is the model's.
    """

    def __init__(self, job: Job, classifier: Classifier, strategy: Any) -> None:
        self._job, self._classifier, self._strategy = job, classifier, strategy
        network = classifier.network
        self._trained = [variable.value for variable in network.trainable_variables]
        self.weights = {f"weight/{n}": variable.value for n, variable in enumerate(network.variables)}
        self._slots = [tuple(_zeros(v) for _ in range(optimizer.SLOTS)) for v in self._trained]
        self._averages = [tf.Variable(tf.convert_to_tensor(v)) for v in self._trained] if job.training.average else []
        self._kept = [_zeros(v) for v in self._trained] if job.awp else []
        self.variables = {
            **self.weights,
            **{f"slot/{n}/{i}": slot for n, pair in enumerate(self._slots) for i, slot in enumerate(pair)},
            **{f"average/{n}": average for n, average in enumerate(self._averages)},
        }

    def averaged(self) -> "Swapped":
        """A context in which the model has its averaged weights, if the job wants any."""
        return Swapped(self._trained, self._averages)

    def compiled(self, method: Method) -> Callable[..., Any]:
        """The step as a graph: (x, y, present, key, index, epsilon, rate, clock, awp) to (losses, right, mean clock).

        Arguments are the global batch with 1 for each row that counts and 0 for one that fills up, the secret of the
        noise (2,), the number of the step, epsilon and learning rate at it, this worker's clock in seconds, and whether
        weights are perturbed. Results are the sum of the losses and the number of rows got right.
        """
        return tf.function(partial(self._step, method), autograph=False)  # type: ignore[no-any-return]

    def _step(
        self,
        method: Method,
        x: Tensor,
        y: Tensor,
        present: Tensor,
        key: Tensor,
        index: Tensor,
        epsilon: Tensor,
        rate: Tensor,
        clock: Tensor,
        awp: bool,
    ) -> tuple[Tensor, Tensor, Tensor]:
        attack, gradients = self._graphs(method)
        attacked = self._strategy.run(attack, args=(x, y, present, index, epsilon))
        everything = (x, y, present, key, index, epsilon, clock, attacked)
        results = self._strategy.run(gradients, args=everything)
        if awp:
            self._perturb(results[0])
            results = self._strategy.run(gradients, args=everything)
            self._restore()
        count = tf.cast(index + 1, tf.float32)
        for variable, gradient, slots in zip(self._trained, results[0], self._slots, strict=True):
            self._update(variable, self._change, gradient, *slots, rate, count)
        for average, variable in zip(self._averages, self._trained, strict=bool(self._averages)):
            self._update(average, self._follow, variable, count)
        loss, right, seconds = (self._strategy.experimental_local_results(value)[0] for value in results[1:])
        return loss, right, seconds

    def _graphs(self, method: Method) -> tuple[Callable[..., Any], Callable[..., Any]]:
        replicas = self._strategy.num_replicas_in_sync

        def part(
            x: Tensor, y: Tensor, present: Tensor, index: Tensor, epsilon: Tensor, replica: Tensor
        ) -> tuple[Batch, Tensor]:
            job, size = self._job, x.shape[0] // replicas
            start = attacks.noise(job.norm, tf.shape(x), tf.stack([job.seed, index * 2]))
            x, y, present, start = (rows[replica * size : (replica + 1) * size] for rows in (x, y, present, start))
            ball = Ball(job.norm, epsilon, self._classifier.lower, self._classifier.upper)
            smoothing, classes = job.training.label_smoothing, self._classifier.classes
            targets = tf.one_hot(y, classes) * (1 - smoothing) + smoothing / classes
            layers = self._classifier.network.layers
            return Batch(self._classifier.logits, layers, x, y, targets, ball, job.epsilon.value, start), present

        @tf.function(jit_compile=self._job.training.xla or None, autograph=False)  # type: ignore[untyped-decorator]
        def local_attack(*arguments: Tensor) -> Tensor:
            return method.attack(part(*arguments)[0])

        @tf.function(jit_compile=self._job.training.xla or None, autograph=False)  # type: ignore[untyped-decorator]
        def local_gradients(attacked: Tensor, *arguments: Tensor) -> Any:
            batch, present = part(*arguments)
            with tf.GradientTape() as tape:
                losses = method.losses(batch, attacked)
                loss = tf.reduce_sum(present * losses) / self._job.training.batch
            right = present * tf.cast(~attacks.wrong(batch.logits(attacked, False), batch.y), tf.float32)
            if self._job.privacy is None:
                found = tape.gradient(loss, self._trained, unconnected_gradients="zero")
            else:
                own = tape.jacobian(losses, self._trained, unconnected_gradients="zero")
                found = privacy.clipped_sum(own, present, self._job.privacy.clip)
            return found, tf.reduce_sum(present * losses), tf.reduce_sum(right)

        def attack(*arguments: Tensor) -> Tensor:
            return local_attack(*arguments, _replica())

        def gradients(
            x: Tensor,
            y: Tensor,
            present: Tensor,
            key: Tensor,
            index: Tensor,
            epsilon: Tensor,
            clock: Tensor,
            attacked: Tensor,
        ) -> Any:
            mine, loss, right = local_gradients(attacked, x, y, present, index, epsilon, _replica())
            context = tf.distribute.get_replica_context()
            # A sum over replicas needs values that lie on each replica's own device.
            total, loss, right, clock = context.all_reduce("sum", [mine, loss, right, tf.identity(clock)])
            if (wanted := self._job.privacy) is not None:  # the same noise on each replica, once on the whole sum
                noised = privacy.noised(total, wanted.noise * wanted.clip, key, index)
                total = [each / self._job.training.batch for each in noised]
            if (bound := self._job.training.optimizer.clip_norm) is not None:
                total, _ = tf.clip_by_global_norm(total, bound)
            return total, loss, right, clock / replicas

        return attack, gradients

    def _change(self, variable: Any, gradient: Any, first: Any, second: Any, rate: Any, count: Any) -> None:
        optimizer.update(self._job.training.optimizer, variable, gradient, (first, second), rate, count)

    def _follow(self, average: Any, variable: Any, count: Any) -> None:
        # While few steps are done, a shorter memory, so that the first weights do not linger.
        decay = tf.minimum(self._job.training.average, (count + 1) / (count + 10))
        average.assign(decay * average + (1 - decay) * variable)

    def _perturb(self, gradients: Any) -> None:
        assert self._job.awp is not None
        for variable, kept, gradient in zip(self._trained, self._kept, gradients, strict=True):
            self._update(variable, partial(_worsen, self._job.awp.gamma), kept, gradient)

    def _restore(self) -> None:
        for variable, kept in zip(self._trained, self._kept, strict=True):
            self._update(variable, _assign, kept)

    def _update(self, variable: Any, change: Callable[..., None], *arguments: Any) -> None:
        self._strategy.extended.update(variable, change, args=arguments)


class Swapped:
    """Variables that have other values within the context."""

    def __init__(self, variables: list[Any], values: list[Any]) -> None:
        self._variables, self._values = variables[: len(values)], values

    def __enter__(self) -> None:
        self._before = [tf.convert_to_tensor(variable) for variable in self._variables]
        for variable, value in zip(self._variables, self._values, strict=True):
            variable.assign(tf.convert_to_tensor(value))

    def __exit__(self, *_: object) -> None:
        for variable, value in zip(self._variables, self._before, strict=True):
            variable.assign(value)


def _replica() -> Tensor:
    return tf.convert_to_tensor(tf.distribute.get_replica_context().replica_id_in_sync_group)


def _worsen(gamma: float, variable: Any, kept: Any, gradient: Any) -> None:
    kept.assign(variable)
    if (
        len(variable.shape) > 1
    ):  # biases and scales stay (Wu et al. 2020, section 3.1, is by layer, relative to its norm)
        variable.assign_add(gamma * tf.norm(variable) * gradient / (tf.norm(gradient) + 1e-12))


def _assign(variable: Any, value: Any) -> None:
    variable.assign(value)


def _zeros(variable: Any) -> Any:
    return tf.Variable(tf.zeros(variable.shape, variable.dtype), trainable=False)
