"""Interval bound propagation, and CROWN-IBP on top of it."""

from dataclasses import dataclass
from functools import partial

from defenses.retraining import attacks, bounds, crown, recipes
from defenses.retraining.attacks import Tensor
from defenses.retraining.methods import Batch
from defenses.retraining.methods.losses import against, cross_entropy


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


@dataclass(frozen=True)
class MtlIbp:
    """De Palma et al. 2024, equation 8, its alpha 1 - `clean`."""

    recipe: recipes.MtlIbp

    def attack(self, batch: Batch) -> Tensor:
        """PGD from a random start."""
        loss = partial(against, batch)
        return attacks.pgd(loss, batch.x, batch.ball, self.recipe.steps, self.recipe.step, batch.start)

    def losses(self, batch: Batch, attacked: Tensor) -> Tensor:
        """The mix of the loss on attacked rows and the loss on the bound."""
        worst = bounds.worst_logits(batch.layers, batch.x, batch.y, batch.ball)
        return _mixed(self.recipe.clean, batch, attacked, worst)


def _mixed(least: float, batch: Batch, attacked: Tensor, worst: Tensor) -> Tensor:
    share = (1 - least) * batch.ball.epsilon / batch.full
    other = cross_entropy(batch.targets, batch.logits(attacked, True))
    return (1 - share) * other + share * cross_entropy(batch.targets, worst)
