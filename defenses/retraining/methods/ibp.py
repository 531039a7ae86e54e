"""Interval bound propagation, and CROWN-IBP on top of it."""

from dataclasses import dataclass

from defenses.retraining import bounds, crown, recipes
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
        return _mixed(self.recipe.clean, batch, attacked, worst)


@dataclass(frozen=True)
class CrownIbp:
    """Zhang et al. 2020, equation 6: beta of CROWN-IBP's bound and the rest of the interval's, beta from 1 to 0."""

    recipe: recipes.CrownIbp

    def attack(self, batch: Batch) -> Tensor:
        """The rows themselves."""
        return batch.x

    def losses(self, batch: Batch, attacked: Tensor) -> Tensor:
        """As IBP's, on the mix of both bounds."""
        beta = 1 - batch.ball.epsilon / batch.full
        tight = crown.worst_logits(batch.layers, attacked, batch.y, batch.ball)
        worst = beta * tight + (1 - beta) * bounds.worst_logits(batch.layers, attacked, batch.y, batch.ball)
        return _mixed(self.recipe.clean, batch, attacked, worst)


def _mixed(least: float, batch: Batch, attacked: Tensor, worst: Tensor) -> Tensor:
    share = (1 - least) * batch.ball.epsilon / batch.full
    clean = cross_entropy(batch.targets, batch.logits(attacked, True))
    return (1 - share) * clean + share * cross_entropy(batch.targets, worst)
