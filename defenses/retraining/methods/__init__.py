"""The methods of adversarial training: what example a row is trained on, and with what loss."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from defenses.retraining.attacks import Ball, Tensor


@dataclass(frozen=True)
class Batch:
    """One replica's part of a step.

    Attributes:
        logits: (x, training) to logits (B, C), of the model with its present weights.
        layers: of the network, in order, for methods that look inside.
        x: rows (B, ...).
        y: their classes, int32 (B,).
        targets: the classes as smoothed one-hot rows (B, C).
        ball: where the attacker may go at this step.
        full: epsilon at the end of its ramp.
        start: `attacks.noise` for this step, of the shape of `x`.
    """

    logits: Callable[[Tensor, bool], Tensor]
    layers: Any
    x: Tensor
    y: Tensor
    targets: Tensor
    ball: Ball
    full: float
    start: Tensor


class Method(Protocol):
    """What a method has. Both functions are pure, and traced into a graph."""

    def attack(self, batch: Batch) -> Tensor:
        """The rows to train on, (B, ...)."""

    def losses(self, batch: Batch, attacked: Tensor) -> Tensor:
        """The loss of each row, (B,), differentiable by the weights."""


def method_of(recipe: Any) -> Method:
    """The method that a recipe of `recipes.Method` asks for."""
    from defenses.retraining import recipes
    from defenses.retraining.methods import fgsm, ibp, mart, pgd, trades

    table: dict[type, Callable[[Any], Method]] = {
        recipes.FgsmMix: fgsm.FgsmMix,
        recipes.FgsmRs: fgsm.FgsmRs,
        recipes.Pgd: pgd.Pgd,
        recipes.Trades: trades.Trades,
        recipes.Mart: mart.Mart,
        recipes.Ibp: ibp.Ibp,
        recipes.CrownIbp: ibp.CrownIbp,
        recipes.MtlIbp: ibp.MtlIbp,
    }
    return table[type(recipe)](recipe)
