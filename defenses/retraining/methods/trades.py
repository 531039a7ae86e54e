"""TRADES."""

from dataclasses import dataclass

import tensorflow as tf

from defenses.retraining import attacks, recipes
from defenses.retraining.attacks import Tensor
from defenses.retraining.methods import Batch
from defenses.retraining.methods.losses import both, cross_entropy, divergence


@dataclass(frozen=True)
class Trades:
    """Zhang et al. 2019, equation 5, with a random start in the whole ball instead of a small Gaussian one."""

    recipe: recipes.Trades

    def attack(self, batch: Batch) -> Tensor:
        """PGD on the divergence from the clean answer."""
        clean = tf.stop_gradient(batch.logits(batch.x, False))

        def loss(moved: Tensor) -> Tensor:
            return divergence(clean, batch.logits(moved, False))

        return attacks.pgd(loss, batch.x, batch.ball, self.recipe.steps, self.recipe.step, batch.start)

    def losses(self, batch: Batch, attacked: Tensor) -> Tensor:
        """Clean cross-entropy and the weighted divergence."""
        clean, moved = both(batch, attacked)
        return cross_entropy(batch.targets, clean) + self.recipe.beta * divergence(clean, moved)
