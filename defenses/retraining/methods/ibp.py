"""Interval bound propagation."""

from dataclasses import dataclass

from defenses.retraining import bounds, recipes
from defenses.retraining.attacks import Tensor
from defenses.retraining.methods import Batch
from defenses.retraining.methods.losses import cross_entropy


@dataclass(frozen=True)
class Ibp:
    """Gowal et al. 2018, equation 12: kappa of clean loss, the rest of the loss on the worst case of the bounds."""

    recipe: recipes.Ibp

    def attack(self, batch: Batch) -> Tensor:
        """The rows themselves: the bounds cover the whole ball."""
        return batch.x

    def losses(self, batch: Batch, attacked: Tensor) -> Tensor:
        """The mix of both losses; the share of the bound grows with epsilon."""
        worst = bounds.worst_logits(batch.layers, attacked, batch.y, batch.ball)
        share = (1 - self.recipe.clean) * batch.ball.epsilon / batch.full
        clean = cross_entropy(batch.targets, batch.logits(attacked, True))
        return (1 - share) * clean + share * cross_entropy(batch.targets, worst)
