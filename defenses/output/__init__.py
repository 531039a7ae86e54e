"""Measured answers: no more of the model in a reply than a caller should have."""

from typing import Annotated

from pydantic import Field

from defenses.imported import Imported
from defenses.output.answers import Chain, Hardened, harden_lists
from defenses.output.audit import audit_outputs
from defenses.output.keys import row_bytes, row_keys
from defenses.output.label_only import LabelOnly
from defenses.output.noise import Noise
from defenses.output.reverse_sigmoid import ReverseSigmoid
from defenses.output.rounding import Round
from defenses.output.scores import AnswerDefense, Scores
from defenses.output.semantics import (
    OutputSpec,
    Semantics,
    SemanticsMismatchError,
    SemanticsUnknownError,
    Unknown,
    check,
    infer,
    is_float,
    resolve,
)
from defenses.output.temperature import Temperature
from defenses.output.top_k import TopK

OutputDefense = Annotated[
    Round | TopK | LabelOnly | Temperature | Noise | ReverseSigmoid | Imported,
    Field(discriminator="kind"),
]
"""All built-in answer defenses and one's own; adding one here makes it configurable."""

__all__ = [
    "AnswerDefense",
    "Chain",
    "Hardened",
    "Imported",
    "LabelOnly",
    "Noise",
    "OutputDefense",
    "OutputSpec",
    "ReverseSigmoid",
    "Round",
    "Scores",
    "Semantics",
    "SemanticsMismatchError",
    "SemanticsUnknownError",
    "Temperature",
    "TopK",
    "Unknown",
    "audit_outputs",
    "check",
    "harden_lists",
    "infer",
    "is_float",
    "resolve",
    "row_bytes",
    "row_keys",
]
