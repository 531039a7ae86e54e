"""How much is measured. More rows make narrower intervals, more queries stronger attackers, both a longer run."""

from dataclasses import dataclass

EPSILON = 0.1
"""L-inf bound of every attack, for pixels in [0, 1]."""
SEED = 20


@dataclass(frozen=True)
class Scale:
    """One size of the whole benchmark.

    Attributes:
        name: what it is called on the command line.
        rows: test images for clean accuracy and for the attacks by gradient.
        steps: of PGD, plain and adaptive.
        draws: of a random defense, averaged by the adaptive attacker in each step.
        other_epochs: training of the surrogate that PGD transfers from.
        square_rows: images attacked by Square.
        square_steps: its queries an image, at most.
        hop_rows: images attacked by HopSkipJump.
        hop_steps: its iterations.
        hop_evaluations: queries for its first estimate of a gradient; the n-th takes sqrt(n) times as many.
        hop_queries: where an image's attack is broken off.
        knockoff_rows: rows that a surrogate is trained on.
        knockoff_epochs: passes over them.
        fidelity_rows: test images on which surrogate and served model are compared.
        member_rows: members, and as many others, whose membership is inferred.
        few_rows: training images of the model that has learnt them by heart.
        calls: timed calls, each of one row and of 32.
    """

    name: str
    rows: int
    steps: int
    draws: int
    other_epochs: int
    square_rows: int
    square_steps: int
    hop_rows: int
    hop_steps: int
    hop_evaluations: int
    hop_queries: int
    knockoff_rows: int
    knockoff_epochs: int
    fidelity_rows: int
    member_rows: int
    few_rows: int
    calls: int


FULL = Scale(
    name="full",
    rows=500,
    steps=40,
    draws=4,
    other_epochs=5,
    square_rows=100,
    square_steps=500,
    hop_rows=30,
    hop_steps=12,
    hop_evaluations=50,
    hop_queries=3000,
    knockoff_rows=5000,
    knockoff_epochs=15,
    fidelity_rows=2000,
    member_rows=2000,
    few_rows=1000,
    calls=60,
)
TINY = Scale(
    name="tiny",
    rows=40,
    steps=5,
    draws=2,
    other_epochs=2,
    square_rows=10,
    square_steps=10,
    hop_rows=2,
    hop_steps=2,
    hop_evaluations=10,
    hop_queries=200,
    knockoff_rows=200,
    knockoff_epochs=3,
    fidelity_rows=100,
    member_rows=100,
    few_rows=200,
    calls=3,
)
SCALES = {scale.name: scale for scale in (FULL, TINY)}
