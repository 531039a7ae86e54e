"""PGD adversarial training."""

from dataclasses import dataclass
from functools import partial

from defenses.retraining import attacks, recipes
from defenses.retraining.attacks import Tensor
from defenses.retraining.methods import Batch
from defenses.retraining.methods.losses import against, cross_entropy


@dataclass(frozen=True)
class Pgd:
    """The saddle point of Madry et al. 2018, equation 2.1."""

    recipe: recipes.Pgd

    def attack(self, batch: Batch) -> Tensor:
        """PGD from a random start."""
        loss = partial(against, batch)
        return attacks.pgd(loss, batch.x, batch.ball, self.recipe.steps, self.recipe.step, batch.start)

    def losses(self, batch: Batch, attacked: Tensor) -> Tensor:
        """Cross-entropy of the attacked rows."""
        return cross_entropy(batch.targets, batch.logits(attacked, True))
