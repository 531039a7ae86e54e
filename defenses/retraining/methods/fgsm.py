"""Single-step methods."""

from dataclasses import dataclass
from functools import partial

from defenses.retraining import attacks, recipes
from defenses.retraining.attacks import Tensor
from defenses.retraining.methods import Batch
from defenses.retraining.methods.losses import against, both, cross_entropy


@dataclass(frozen=True)
class FgsmMix:
    """Clean and adversarial rows mixed (Goodfellow et al. 2015, equation 7)."""

    recipe: recipes.FgsmMix

    def attack(self, batch: Batch) -> Tensor:
        """FGSM."""
        return attacks.fgsm(partial(against, batch), batch.x, batch.ball)

    def losses(self, batch: Batch, attacked: Tensor) -> Tensor:
        """The weighted mean of both losses."""
        clean, moved = (cross_entropy(batch.targets, logits) for logits in both(batch, attacked))
        return self.recipe.clean * clean + (1 - self.recipe.clean) * moved


@dataclass(frozen=True)
class FgsmRs:
    """Fast adversarial training (Wong et al. 2020, algorithm 3); the guard is the training loop's."""

    recipe: recipes.FgsmRs

    def attack(self, batch: Batch) -> Tensor:
        """FGSM from a random start."""
        return attacks.fgsm(partial(against, batch), batch.x, batch.ball, self.recipe.step, batch.start)

    def losses(self, batch: Batch, attacked: Tensor) -> Tensor:
        """Cross-entropy of the attacked rows."""
        return cross_entropy(batch.targets, batch.logits(attacked, True))
