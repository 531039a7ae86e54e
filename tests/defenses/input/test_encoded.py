"""Encoded images: nothing but pixels comes out, and nothing large is ever decoded."""

import contextlib
import io
import struct
import time
import tracemalloc
import zlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin

from defenses.input import EncodedImage, InputChain, InvalidInputError

RNG = np.random.default_rng(5)
PIXELS = RNG.integers(0, 256, (9, 7, 3), dtype=np.uint8)


def encoded(pixels: Any = PIXELS, kind: str = "PNG", mode: str | None = None, **options: Any) -> bytes:
    image = Image.fromarray(pixels)
    file = io.BytesIO()
    (image if mode is None else image.convert(mode)).save(file, format=kind, **options)
    return file.getvalue()


def clean(data: bytes, seed: int = 1, **rule: Any) -> bytes:
    values = np.empty(1, dtype=object)
    values[0] = data
    chain = InputChain("image", (EncodedImage.model_validate({"kind": "encoded_image", **rule}),))
    cleaned: bytes = chain(values, np.array([seed], dtype=np.uint64))[0]
    return cleaned


def pixels(data: bytes) -> Any:
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image)


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def bomb(width: int, height: int) -> bytes:
    """A PNG of one colour, as small as it can be."""
    packer = zlib.compressobj(9)
    rows = b"".join(packer.compress(b"\0" * ((width + 7) // 8 + 1)) for _ in range(height)) + packer.flush()
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def test_a_bomb_is_refused_before_it_is_decoded() -> None:
    data = bomb(20_000, 20_000)
    assert len(data) < 100_000
    tracemalloc.start()
    started = time.process_time()
    with pytest.raises(
        InvalidInputError, match="row 0: the image has 20000 x 20000 pixels; send up to 16000000 in all"
    ):
        clean(data)
    assert time.process_time() - started < 0.5
    assert tracemalloc.get_traced_memory()[1] < 2**20
    tracemalloc.stop()


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA", "1", "P"])
def test_a_png_keeps_its_pixels(mode: str) -> None:
    data = encoded(mode=mode)
    cleaned = clean(data)
    np.testing.assert_array_equal(pixels(cleaned), pixels(data))
    with Image.open(io.BytesIO(cleaned)) as image:
        assert image.mode == mode


def test_sixteen_bits_of_grey_are_kept() -> None:
    deep = RNG.integers(0, 65536, (5, 6)).astype(np.uint16)
    np.testing.assert_array_equal(pixels(clean(encoded(deep))), deep)


def test_nothing_but_pixels_is_left() -> None:
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "taken at home"
    text = PngImagePlugin.PngInfo()
    text.add_text("secret", "taken at home", zip=True)
    trailing = b"taken at home"
    for data in (
        encoded(kind="JPEG", exif=exif, comment=b"taken at home", icc_profile=b"taken at home" * 20) + trailing,
        encoded(exif=exif, pnginfo=text, icc_profile=b"taken at home" * 20) + trailing,
    ):
        cleaned = clean(data)
        assert b"home" not in cleaned
        with Image.open(io.BytesIO(cleaned)) as image:
            assert not image.getexif()
            assert image.size == (7, 9), "the orientation is not applied"
            assert set(image.info) <= {"jfif", "jfif_version", "jfif_unit", "jfif_density"}


def test_a_text_bomb_in_a_png_does_no_harm() -> None:
    data = encoded()
    swollen = chunk(b"zTXt", b"k\0\0" + zlib.compress(b"\0" * 200_000_000, 9))
    with_bomb = data[:33] + swollen + data[33:]
    tracemalloc.start()
    with contextlib.suppress(InvalidInputError):
        assert b"zTXt" not in clean(with_bomb)
    assert tracemalloc.get_traced_memory()[1] < 100 * 2**20
    tracemalloc.stop()


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"", "it is no image that is accepted; send JPEG or PNG"),
        (b"GIF89a" + bytes(100), "it is no image that is accepted"),
        (encoded()[:40], "the PNG is broken; encode the image anew"),
        (encoded(kind="JPEG")[:200], "the JPEG is broken|no image that is accepted"),
        (encoded(kind="JPEG", mode="CMYK"), "its pixels are CMYK; send RGB or grey"),
    ],
)
def test_what_is_no_image_is_refused(data: bytes, problem: str) -> None:
    with pytest.raises(InvalidInputError, match=problem):
        clean(data)


def test_bounds_and_formats() -> None:
    with pytest.raises(InvalidInputError, match="send up to 62 in all"):
        clean(encoded(), max_pixels=62)
    with pytest.raises(InvalidInputError, match="bytes; send up to 10"):
        clean(encoded(), max_bytes=10)
    with pytest.raises(InvalidInputError, match="send PNG"):
        clean(encoded(kind="JPEG"), formats=["png"])
    assert clean(encoded(), encode_as="jpeg").startswith(b"\xff\xd8")
    with pytest.raises(InvalidInputError, match="no place in a JPEG"):
        clean(encoded(mode="RGBA"), encode_as="jpeg")


def test_steps_work_on_the_pixels() -> None:
    cleaned = clean(encoded(), steps=[{"kind": "bit_depth", "bits": 1}])
    np.testing.assert_array_equal(pixels(cleaned), np.where(PIXELS > 127, 255, 0))
    with pytest.raises(ValueError, match="work on pixels"):
        EncodedImage.model_validate({"kind": "encoded_image", "steps": [{"kind": "text"}]})


def test_a_random_quality_comes_from_the_rows_seed() -> None:
    data = encoded(kind="JPEG", quality=95)
    made = {seed: clean(data, seed, quality=[10, 95]) for seed in range(6)}
    assert len(set(made.values())) > 2
    assert clean(data, 3, quality=[10, 95]) == made[3]


@given(st.binary(max_size=200), st.integers(0, 400), st.sampled_from([encoded(), encoded(kind="JPEG")]))
@settings(deadline=None, max_examples=300)
def test_damaged_images_are_cleaned_or_refused(damage: bytes, at: int, data: bytes) -> None:
    with contextlib.suppress(InvalidInputError):  # any other exception is a defect
        assert pixels(clean(data[:at] + damage + data[at + len(damage) :], max_pixels=10**6)).size
