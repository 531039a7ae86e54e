"""JPEG's loss as a filter."""

import io
from importlib.util import find_spec
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import AfterValidator, Field, model_validator

from defenses.input.base import Array, Batch, Content, InvalidInputError, Settings
from defenses.input.images import as_images, from_levels, to_levels

MAX_SIDE = 65_500
"""Pixels; the format itself ends there."""

OneQuality = Annotated[int, Field(ge=1, le=100)]


def _ascending(value: tuple[int, int]) -> tuple[int, int]:
    if value[0] > value[1]:
        raise ValueError(f"quality is {list(value)}; write [LOWEST, HIGHEST]")
    return value


Quality = OneQuality | Annotated[tuple[OneQuality, OneQuality], AfterValidator(_ascending)]
"""One quality, or the lowest and the highest of a range from which each row draws its own."""


def drawn(quality: int | tuple[int, int], generator: np.random.Generator) -> int:
    """The quality for one row."""
    return quality if isinstance(quality, int) else int(generator.integers(quality[0], quality[1] + 1))


def needs_pillow(kind: str) -> None:
    """Checks that Pillow is there, when the configuration is read.

    Raises:
        ValueError: it is not.
    """
    if find_spec("PIL") is None:
        raise ValueError(f"{kind} needs Pillow; install it with: pip install 'tensorwall[images]'")


class Jpeg(Settings):
    """Encodes each row as a JPEG and decodes it again (Guo et al. 2018; Das et al. 2018, SHIELD, for random quality).

    Rows of one or three channels are grey or RGB images; of another number, each channel is a grey image of its own.
    Values pass through 8 bits. A quality drawn for each row makes repeated queries disagree. BPDA, with expectation
    over the qualities where they are random, passes it; there are differentiable approximations too (Shin, Song 2017).
    """

    kind: Literal["jpeg"] = "jpeg"
    quality: Quality = 75

    takes: ClassVar[Content] = "numbers"
    ranged: ClassVar[bool] = True
    finite: ClassVar[bool] = True

    @model_validator(mode="after")
    def _possible(self) -> "Jpeg":
        needs_pillow(self.kind)
        return self

    def __call__(self, batch: Batch) -> Array:
        pixels = np.rint(as_images(to_levels(batch, 255))).astype(np.uint8)
        if max(pixels.shape[1:3]) > MAX_SIDE:
            raise InvalidInputError(
                f"a row has the shape {list(batch.values.shape[1:])}; a JPEG holds up to {MAX_SIDE} pixels a side"
            )
        decoded = np.empty(pixels.shape, dtype=batch.values.dtype)
        for row, generator in enumerate(batch.generators()):
            decoded[row] = self._row(pixels[row], drawn(self.quality, generator))
        return from_levels(decoded, batch, 255)

    def _row(self, image: Array, quality: int) -> Array:
        if image.shape[2] == 3:
            return _through(image, quality)
        return np.stack([_through(image[..., channel], quality) for channel in range(image.shape[2])], axis=-1)


def _through(image: Array, quality: int) -> Array:
    from PIL import Image  # an extra

    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(image)).save(file, format="JPEG", quality=quality)
    file.seek(0)
    with Image.open(file, formats=("JPEG",)) as decoded:
        pixels: Any = np.asarray(decoded)
    return np.asarray(pixels, dtype=np.uint8)
