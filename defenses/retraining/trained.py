"""What a training run leaves behind, for whatever evaluates, gates and publishes it."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from defenses.retraining.privacy import Spent


@dataclass(frozen=True)
class Trained:
    """A finished run; all files are in the job's output folder.

    Attributes:
        candidate: `candidate.keras`, in the form that came in: logits or probabilities, same input, same signature.
        metrics: `metrics.jsonl`: one object a line; `kind` is `epoch` (step, epoch, seconds, loss, accuracy, epsilon,
            learning_rate) or `check` (step, epoch, seconds, clean, robust, and certified under IBP), rates in [0, 1].
        manifest: `manifest.json`: the effective job, SHA-256 of every input file, of the rows, and of the candidate.
        steps: of the optimizer.
        seconds: spent on training, over all resumptions.
        ended: why: `epochs`, `seconds` or `patience`.
        best_step: the step that the candidate's weights are of: the best check's if there is `patience` or a guard.
        robust: accuracy of the candidate under the job's check on validation rows.
        clean: accuracy on the same rows.
        certified: share of the same rows that are right and provably stay so; None unless the method is `ibp`.
        spent: the (epsilon, delta) of differential privacy; None without.
        chief: whether this worker is the one that evaluates and publishes; true where there is only one.
    """

    candidate: Path
    metrics: Path
    manifest: Path
    steps: int
    seconds: float
    ended: str
    best_step: int
    robust: float
    clean: float
    certified: float | None
    spent: "Spent | None"
    chief: bool
