"""The attacks of `tensorwall drill`, each run against a deployment through nothing but its answers.

`contract` says what an attack gets, asks and ends with. `toolbox` and `extraction` drive the adversarial-robustness-
toolbox; `adaptive`, `learning`, `membership` and `inversion` are written here; `disguises` go with any attack. Offline:
needs the extra `attacks`, and loads TensorFlow and the toolbox when an attack runs that uses them.
"""

from collections.abc import Mapping

from proxy.drill.attacks.adaptive import OARS_BOUNDARY, OARS_SQUARE
from proxy.drill.attacks.contract import (
    Attack,
    BudgetSpentError,
    Ended,
    Labels,
    Norm,
    Oracle,
    Outcome,
    Predict,
    Probabilities,
    RefusedError,
    Rows,
    Target,
    Technique,
)
from proxy.drill.attacks.disguises import Brightness, Disguise, Disguised, Dummies, Moves, Noise, Slow
from proxy.drill.attacks.extraction import COPYCAT, KNOCKOFF
from proxy.drill.attacks.inversion import INVERSION
from proxy.drill.attacks.learning import ACTIVE_ENTROPY, ACTIVE_MARGIN, JACOBIAN
from proxy.drill.attacks.membership import CONFIDENCE, LABEL_ONLY
from proxy.drill.attacks.toolbox import BOUNDARY, HOP_SKIP_JUMP, SIMBA, SQUARE, ZOO

ATTACKS: Mapping[str, Attack] = {
    "hop_skip_jump": HOP_SKIP_JUMP,
    "square": SQUARE,
    "boundary": BOUNDARY,
    "zoo": ZOO,
    "simba": SIMBA,
    "knockoff": KNOCKOFF,
    "copycat": COPYCAT,
    "jacobian": JACOBIAN,
    "active_margin": ACTIVE_MARGIN,
    "active_entropy": ACTIVE_ENTROPY,
    "membership_confidence": CONFIDENCE,
    "membership_label_only": LABEL_ONLY,
    "inversion": INVERSION,
    "oars_square": OARS_SQUARE,
    "oars_hop_skip_jump": OARS_BOUNDARY,
}
"""By the names of the command line."""

DISGUISES: Mapping[str, Disguise] = {
    "dummies": Dummies(),
    "noise": Noise(),
    "moves": Moves(),
    "brightness": Brightness(),
}
"""By the names of the command line. `Slow` is not among them: it needs to be told what happens between the calls."""

__all__ = [
    "ATTACKS",
    "DISGUISES",
    "Attack",
    "Brightness",
    "BudgetSpentError",
    "Disguise",
    "Disguised",
    "Dummies",
    "Ended",
    "Labels",
    "Moves",
    "Noise",
    "Norm",
    "Oracle",
    "Outcome",
    "Predict",
    "Probabilities",
    "RefusedError",
    "Rows",
    "Slow",
    "Target",
    "Technique",
]
