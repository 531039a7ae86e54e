"""Input preprocessing: cleaned inputs, batch in and batch out."""

from typing import Annotated

from pydantic import Field
from typing_extensions import TypeAliasType

from defenses.imported import Imported
from defenses.input.base import STEP_NEEDS, Array, Batch, Content, InputDefense, InvalidInputError, row_seeds
from defenses.input.bit_depth import BitDepth
from defenses.input.chain import InputChain
from defenses.input.choice import Choice
from defenses.input.encoded_image import EncodedImage
from defenses.input.jpeg import Jpeg
from defenses.input.median import Median
from defenses.input.missing import Missing
from defenses.input.non_local_means import NonLocalMeans
from defenses.input.quantise import Quantise
from defenses.input.random_noise import RandomNoise
from defenses.input.random_resize_pad import RandomResizePad
from defenses.input.range import Range
from defenses.input.shape import Shape
from defenses.input.text import Text
from defenses.input.total_variation import TotalVariation

InputStep = TypeAliasType(
    "InputStep",
    Annotated[
        BitDepth
        | Median
        | NonLocalMeans
        | Jpeg
        | TotalVariation
        | RandomResizePad
        | RandomNoise
        | Shape
        | EncodedImage
        | Text
        | Range
        | Quantise
        | Missing
        | Choice
        | Imported,
        Field(discriminator="kind"),
    ],
)
"""All built-in steps and one's own; adding one here makes it configurable."""

Choice.model_rebuild()
EncodedImage.model_rebuild()

__all__ = [
    "STEP_NEEDS",
    "Array",
    "Batch",
    "BitDepth",
    "Choice",
    "Content",
    "EncodedImage",
    "Imported",
    "InputChain",
    "InputDefense",
    "InputStep",
    "InvalidInputError",
    "Jpeg",
    "Median",
    "Missing",
    "NonLocalMeans",
    "Quantise",
    "RandomNoise",
    "RandomResizePad",
    "Range",
    "Shape",
    "Text",
    "TotalVariation",
    "row_seeds",
]
