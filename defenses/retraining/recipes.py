"""The methods of adversarial training and their parameters, as written in job.yaml. `methods/` has what they do."""

from typing import Annotated, Literal

from pydantic import Field

from defenses.retraining.section import Positive, Section, Share

Steps = Annotated[int, Field(gt=0, le=1000)]


class FgsmMix(Section):
    """Clean and FGSM examples mixed: the basic recipe (Goodfellow et al. 2015, arXiv:1412.6572).

    Weak against iterated attacks: it can learn to mask its gradients.
    """

    kind: Literal["fgsm"]
    clean: Share = Field(0.5, description="weight of the clean loss")


class FgsmRs(Section):
    """FGSM from a random start (Wong et al. 2020, arXiv:2001.03994), with a guard against catastrophic overfitting.

    At each validation, accuracy under PGD is compared with the best so far. When it fell by more than `guard`, the best
    weights come back, and from there on PGD of `guard_steps` steps takes the place of the single step.
    """

    kind: Literal["fgsm_rs"]
    step: Positive = Field(1.25, description="size of the step, in epsilons")
    guard: Share = Field(0.2, description="fall of robust accuracy that is taken for catastrophic overfitting")
    guard_steps: Steps = 3


class Pgd(Section):
    """Adversarial training on PGD examples alone (Madry et al. 2018, arXiv:1706.06083)."""

    kind: Literal["pgd"]
    steps: Steps = 7
    step: Positive = Field(0.25, description="size of a step, in epsilons")


class Trades(Section):
    """Clean loss plus `beta` times the divergence of the answers near a row (Zhang et al. 2019, arXiv:1901.08573)."""

    kind: Literal["trades"]
    beta: Positive = 6.0
    steps: Steps = 10
    step: Positive = Field(0.25, description="size of a step, in epsilons")


class Mart(Section):
    """Boosted loss on PGD examples, weight on rows that are got wrong (Wang et al. 2020, ICLR, "Improving Adversarial
    Robustness Requires Revisiting Misclassified Examples")."""

    kind: Literal["mart"]
    beta: Positive = 5.0
    steps: Steps = 10
    step: Positive = Field(0.25, description="size of a step, in epsilons")


class Bounded(Section):
    """Methods that train on a bound of the worst case, and certify."""

    clean: Share = Field(0.5, description="weight of the clean loss at full epsilon")


class Ibp(Bounded):
    """Loss on the worst case that interval bounds allow (Gowal et al. 2018, arXiv:1810.12715), with a certificate.

    Only for L-inf, and for sequences of Dense, Conv2D, ReLU, Flatten, pooling and Dropout. The weight of the bound
    grows with epsilon, from 0 to 1 - `clean`.
    """

    kind: Literal["ibp"]


class CrownIbp(Bounded):
    """As `ibp`, with the tighter bounds of CROWN-IBP at first (Zhang et al. 2020, arXiv:1906.06316).

    Their weight falls from 1 to 0 while epsilon grows. For the same networks, without MaxPooling2D.
    """

    kind: Literal["crown_ibp"]


class MtlIbp(Bounded):
    """PGD examples where `ibp` has clean rows: MTL-IBP (De Palma et al. 2024, arXiv:2305.13991, equation 8).

    `clean` is the weight of the loss on the attacked rows. Most robust under attack where the bound has the smaller
    weight, and certified the less. For the same networks as `ibp`.
    """

    kind: Literal["mtl_ibp"]
    steps: Steps = 3
    step: Positive = Field(0.5, description="size of a step, in epsilons")


Method = Annotated[FgsmMix | FgsmRs | Pgd | Trades | Mart | Ibp | CrownIbp | MtlIbp, Field(discriminator="kind")]


class Awp(Section):
    """Adversarial weight perturbation on top of a method (Wu et al. 2020, arXiv:2004.05884)."""

    gamma: Positive = Field(0.01, description="size of the perturbation, as a share of each tensor's norm")
    from_epoch: int = Field(0, ge=0, description="epochs before it begins")
