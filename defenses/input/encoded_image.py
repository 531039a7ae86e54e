"""Images that come as JPEG or PNG bytes."""

import io
import struct
import zlib
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from defenses.imported import loaded
from defenses.input.base import STEP_NEEDS, Array, Batch, Content, InvalidInputError, Settings
from defenses.input.chain import InputChain
from defenses.input.headers import Header, ImageFormat, read_header
from defenses.input.jpeg import Quality, drawn, needs_pillow

if TYPE_CHECKING:
    from PIL.Image import Image

    from defenses.input import InputStep

MOST_PIXELS = 89_000_000
"""Pillow itself warns beyond 2**30 / 12 pixels."""

_PLAIN = frozenset({"1", "L", "LA", "RGB", "RGBA", "P", "I;16", "I;16B", "I"})
_FORMATS: dict[ImageFormat, frozenset[str]] = {"jpeg": frozenset({"L", "RGB"}), "png": _PLAIN}
_BROKEN = (OSError, ValueError, SyntaxError, EOFError, IndexError, KeyError, TypeError, struct.error, zlib.error)
"""What Pillow raises for files that are not what they say (SyntaxError is its word for a broken PNG)."""


class EncodedImage(Settings):
    """Decodes each image within bounds and encodes it anew, so that pixels are all that is left of it.

    The format is told from the content. The pixel bound is held against the header before anything is decoded. Gone
    are EXIF, XMP, ICC profiles, comments, text, further frames and whatever trails the image; an EXIF orientation is
    not applied, as TensorFlow's decoders do not apply it either. PNGs keep their pixels exactly, 16-bit RGB apart,
    which becomes 8-bit; a JPEG loses a little at each encoding, which is a defense by itself (see `jpeg`).

    `steps` are steps for images as arrays; they see values from 0 to 255, by channel. Palettes are resolved for them.
    """

    kind: Literal["encoded_image"] = "encoded_image"
    formats: Annotated[tuple[ImageFormat, ...], Field(min_length=1, max_length=2)] = ("jpeg", "png")
    max_pixels: int = Field(default=16_000_000, ge=1, le=MOST_PIXELS, description="width times height")
    max_bytes: int = Field(default=16 * 2**20, ge=1, description="of one encoded image")
    encode_as: Literal["same", "jpeg", "png"] = "same"
    quality: Quality = Field(default=90, description="of JPEGs; a pair: drawn for each row")
    steps: Annotated[tuple["InputStep", ...], Field(max_length=16)] = ()

    takes: ClassVar[Content] = "bytes"
    ranged: ClassVar[bool] = False
    finite: ClassVar[bool] = False

    @model_validator(mode="after")
    def _possible(self) -> Self:
        needs_pillow(self.kind)
        if any(step.takes != "numbers" for step in self._chain().steps):
            raise ValueError("the steps of encoded_image work on pixels; use steps that take numbers")
        return self

    def __call__(self, batch: Batch) -> Array:
        chain = self._chain()
        flat = batch.values.reshape(len(batch.values), -1)
        result = np.empty_like(flat)
        for row, generator in enumerate(batch.generators()):
            for column in range(flat.shape[1]):
                try:
                    result[row, column] = self._clean(flat[row, column], chain, generator)
                except InvalidInputError as error:
                    raise InvalidInputError(f"row {row}: {error}") from None
        return result.reshape(batch.values.shape)

    def _chain(self) -> InputChain:
        return InputChain("pixels", tuple(loaded(step, STEP_NEEDS) for step in self.steps), (0.0, 255.0))

    def _clean(self, data: bytes, chain: InputChain, generator: np.random.Generator) -> bytes:
        header = self._checked(data)
        image = _decoded(data, header)
        if chain.steps:
            image = _stepped(image, chain, generator)
        return self._encoded(image, header.format if self.encode_as == "same" else self.encode_as, generator)

    def _checked(self, data: bytes) -> Header:
        if len(data) > self.max_bytes:
            raise InvalidInputError(f"the image has {len(data)} bytes; send up to {self.max_bytes}")
        header = read_header(data)
        if header is None or header.format not in self.formats:
            raise InvalidInputError(
                f"it is no image that is accepted; send {' or '.join(map(str.upper, self.formats))}"
            )
        if header.width * header.height > self.max_pixels:
            raise InvalidInputError(
                f"the image has {header.width} x {header.height} pixels; send up to {self.max_pixels} in all"
            )
        return header

    def _encoded(self, image: "Image", wanted: ImageFormat, generator: np.random.Generator) -> bytes:
        if image.mode not in _FORMATS[wanted]:
            if image.mode not in ("1", "P"):
                raise InvalidInputError(
                    f"its pixels ({image.mode}) have no place in a {wanted.upper()}; send RGB or grey"
                )
            image = image.convert("L" if image.mode == "1" else "RGB")
        file = io.BytesIO()
        if wanted == "jpeg":
            image.save(file, format="JPEG", quality=drawn(self.quality, generator))
        else:
            image.save(file, format="PNG")
        return file.getvalue()


def _decoded(data: bytes, header: Header) -> "Image":
    """The pixels alone.

    Raises:
        InvalidInputError: they cannot be had.
    """
    from PIL import Image  # an extra

    try:
        with Image.open(io.BytesIO(data), formats=(header.format.upper(),)) as image:
            if image.size != (header.width, header.height):
                raise InvalidInputError("its header contradicts itself; encode the image anew")
            image.load()
            found: Image.Image = image.copy()
    except InvalidInputError:
        raise
    except _BROKEN:
        raise InvalidInputError(f"the {header.format.upper()} is broken; encode the image anew") from None
    if found.mode not in _FORMATS[header.format]:
        raise InvalidInputError(f"its pixels are {found.mode}; send RGB or grey")
    transparency = found.info.get("transparency")
    found.info = {} if transparency is None else {"transparency": transparency}
    return found


def _stepped(image: "Image", chain: InputChain, generator: np.random.Generator) -> "Image":
    from PIL import Image

    if image.mode.startswith("I"):
        raise InvalidInputError("it has 16 bits a channel; send 8")
    if image.mode in ("1", "P"):
        transparent = "transparency" in image.info
        image = image.convert("L" if image.mode == "1" else "RGBA" if transparent else "RGB")
    pixels: Any = np.asarray(image)
    seeds = generator.integers(0, 2**64, size=1, dtype=np.uint64)
    return Image.fromarray(np.ascontiguousarray(chain(pixels[np.newaxis], seeds)[0]))
