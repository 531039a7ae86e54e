"""MART."""

from dataclasses import dataclass
from functools import partial

import tensorflow as tf

from defenses.retraining import attacks, recipes
from defenses.retraining.attacks import Tensor
from defenses.retraining.methods import Batch
from defenses.retraining.methods.losses import against, both, cross_entropy, divergence

_TINY = 1e-6


@dataclass(frozen=True)
class Mart:
    """Wang et al. 2020, equation 11: boosted cross-entropy, and a divergence that counts most for rows got wrong."""

    recipe: recipes.Mart

    def attack(self, batch: Batch) -> Tensor:
        """PGD from a random start."""
        loss = partial(against, batch)
        return attacks.pgd(loss, batch.x, batch.ball, self.recipe.steps, self.recipe.step, batch.start)

    def losses(self, batch: Batch, attacked: Tensor) -> Tensor:
        """Boosted cross-entropy of the attacked rows, and the weighted divergence."""
        clean, moved = both(batch, attacked)
        own = tf.one_hot(batch.y, moved.shape[-1])
        runner_up = tf.reduce_max(tf.nn.softmax(moved) - own, axis=-1)  # the class itself is at most 0
        boosted = cross_entropy(batch.targets, moved) - tf.math.log(1.0 - runner_up + _TINY)
        doubt = 1.0 - tf.reduce_sum(own * tf.nn.softmax(clean), axis=-1)
        return boosted + self.recipe.beta * divergence(clean, moved) * doubt
