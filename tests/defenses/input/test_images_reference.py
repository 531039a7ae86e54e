"""Filters against independent, slow or other people's, implementations."""

import io
from typing import Any

import numpy as np
import pytest
import scipy.ndimage
import scipy.stats
from numpy.typing import NDArray
from PIL import Image

from defenses.input import (
    BitDepth,
    InputChain,
    InputDefense,
    Jpeg,
    Median,
    NonLocalMeans,
    RandomNoise,
    RandomResizePad,
    TotalVariation,
)
from tests.defenses.input.images import seeds_for

Images = NDArray[np.float64]


def cleaned(step: InputDefense, values: NDArray[Any], bounds: tuple[float, float] = (0.0, 1.0)) -> NDArray[Any]:
    return InputChain("x", (step,), bounds)(values, seeds_for(len(values)))


def noise(*shape: int) -> Images:
    return np.random.default_rng(3).random(shape)


@pytest.mark.parametrize("size", range(2, 10))
@pytest.mark.parametrize("shape", [(2, 15, 12, 3), (1, 1, 1, 1), (1, 2, 30, 1), (1, 3, 1, 2), (1, 400, 90, 3)])
def test_median_is_scipys(size: int, shape: tuple[int, ...]) -> None:
    for values in (noise(*shape), np.round(noise(*shape) * 3)):  # few values: many ties
        expected = scipy.ndimage.median_filter(values, size=(1, size, size, 1), mode="reflect")
        np.testing.assert_array_equal(cleaned(Median(size=size), values), expected)


def slow_means(image: Images, step: NonLocalMeans, bounds: tuple[float, float]) -> Images:
    """(height, width, channels), pixel by pixel."""
    reach, half = step.search // 2, step.patch // 2
    edge = reach + half
    padded = np.pad(image, ((edge, edge), (edge, edge), (0, 0)), mode="symmetric")
    around = np.lib.stride_tricks.sliding_window_view(padded, (step.patch, step.patch), axis=(0, 1))
    result = np.empty_like(image)
    for y, x in np.ndindex(*image.shape[:2]):
        own = around[y + reach, x + reach]
        others = around[y : y + step.search, x : x + step.search]
        distance = ((others - own) ** 2).mean(axis=(2, 3, 4)) / (bounds[1] - bounds[0]) ** 2
        weights = np.exp(-distance / step.strength**2)
        pixels = padded[y + half : y + half + step.search, x + half : x + half + step.search]
        result[y, x] = (weights[..., np.newaxis] * pixels).sum(axis=(0, 1)) / weights.sum()
    return result


@pytest.mark.parametrize(("search", "patch", "strength"), [(11, 3, 0.1), (3, 1, 0.5), (5, 5, 0.02), (7, 3, 1.0)])
@pytest.mark.parametrize("shape", [(9, 14, 3), (1, 1, 1), (2, 9, 2), (13, 3, 1)])
@pytest.mark.parametrize("bounds", [(0.0, 1.0), (-3.0, 5.0)])
def test_non_local_means_is_the_definition(
    search: int, patch: int, strength: float, shape: tuple[int, ...], bounds: tuple[float, float]
) -> None:
    step = NonLocalMeans(search=search, patch=patch, strength=strength)
    values = noise(2, *shape) * (bounds[1] - bounds[0]) + bounds[0]
    expected = np.stack([slow_means(image, step, bounds) for image in values])
    np.testing.assert_allclose(cleaned(step, values, bounds), expected, rtol=1e-10, atol=1e-12)
    single = cleaned(step, values.astype(np.float32), bounds)
    np.testing.assert_allclose(single, expected, atol=1e-4)


@pytest.mark.parametrize("step", [NonLocalMeans(), Median(size=2), Median(size=9)], ids=str)
def test_strips_of_a_large_image_do_not_show(step: InputDefense) -> None:
    values = noise(1, 700, 170, 1).astype(np.float32)  # more than a piece
    whole = cleaned(step, values)
    for top in range(0, 700, 70):
        first, last = max(0, top - 20), min(700, top + 90)
        part = cleaned(step, values[:, first:last])
        inside = slice(top - first, top - first + 70)
        assert part[:, inside].tobytes() == whole[:, top : top + 70].tobytes()


def through_pillow(image: NDArray[np.uint8], quality: int) -> NDArray[np.uint8]:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=quality)
    return np.array(Image.open(io.BytesIO(file.getvalue())))


@pytest.mark.parametrize("quality", [1, 30, 75, 100])
def test_jpeg_is_pillows(quality: int) -> None:
    values = (noise(3, 21, 18, 3) * 255).astype(np.uint8)
    expected = np.stack([through_pillow(image, quality) for image in values])
    np.testing.assert_array_equal(cleaned(Jpeg(quality=quality), values, (0, 255)), expected)
    unit = cleaned(Jpeg(quality=quality), (values / np.float32(255)).astype(np.float32))
    np.testing.assert_array_equal(unit, expected.astype(np.float32) / np.float32(255))
    signed = cleaned(Jpeg(quality=quality), values / 127.5 - 1.0, (-1.0, 1.0))
    np.testing.assert_allclose(signed, expected / 127.5 - 1.0, atol=1e-12)


@pytest.mark.parametrize("channels", [1, 2, 4])
def test_jpeg_takes_other_channels_as_grey(channels: int) -> None:
    values = (noise(2, 9, 17, channels) * 255).astype(np.uint8)
    expected = [[through_pillow(image[..., at], 50) for at in range(channels)] for image in values]
    after = cleaned(Jpeg(quality=50), values, (0, 255))
    np.testing.assert_array_equal(after, np.moveaxis(np.array(expected), 1, 3))
    if channels == 1:
        np.testing.assert_array_equal(cleaned(Jpeg(quality=50), values[..., 0], (0, 255)), after[..., 0])


def test_random_quality_stays_within_its_bounds_and_reaches_them() -> None:
    values = np.repeat((noise(1, 16, 16) * 255).astype(np.uint8), 60, axis=0)
    possible = {through_pillow(values[0], quality).tobytes(): quality for quality in range(40, 44)}
    drawn = [possible[row.tobytes()] for row in cleaned(Jpeg(quality=(40, 43)), values, (0, 255))]
    assert set(drawn) == {40, 41, 42, 43}


def objective(images: Images, observed: Images, weight: float) -> float:
    """Of the problem that total variation denoising solves, for (height, width)."""
    down = np.diff(images, axis=0, append=images[-1:])
    right = np.diff(images, axis=1, append=images[:, -1:])
    return float(np.hypot(down, right).sum() + ((images - observed) ** 2).sum() / (2 * weight))


@pytest.mark.parametrize("weight", [0.02, 0.1, 0.5])
def test_total_variation_goes_down_to_its_minimum(weight: float) -> None:
    observed = np.clip(np.tri(24, 20) * 0.6 + 0.2 + 0.1 * np.random.default_rng(1).standard_normal((24, 20)), 0, 1)
    values = [
        objective(cleaned(TotalVariation(weight=weight, iterations=count), observed[np.newaxis])[0], observed, weight)
        for count in (1, 5, 30, 500)
    ]
    assert objective(observed, observed, weight) > values[0] > values[1] > values[2] >= values[3]
    best = cleaned(TotalVariation(weight=weight, iterations=500), observed[np.newaxis])[0]
    rng = np.random.default_rng(2)
    for size in (1e-3, 1e-2):
        for _ in range(20):  # the problem is convex: what beats all small steps around it is the minimum
            other = best + size * rng.standard_normal(best.shape)
            assert objective(other, observed, weight) > values[3]


def test_total_variation_of_two_columns_is_known_in_closed_form() -> None:
    values = np.tile([0.2, 0.8], (6, 1))[np.newaxis]  # each column moves by the weight towards the other
    after = cleaned(TotalVariation(weight=0.1, iterations=500), values)
    np.testing.assert_allclose(after[0], np.tile([0.3, 0.7], (6, 1)), atol=1e-3)


def test_total_variation_takes_channels_by_themselves() -> None:
    values = noise(2, 8, 9, 3)
    after = cleaned(TotalVariation(), values)
    for channel in range(3):
        assert after[..., channel].tobytes() == cleaned(TotalVariation(), values[..., channel].copy()).tobytes()


def linear(line: NDArray[Any], size: int) -> NDArray[Any]:
    at = (np.arange(size) + 0.5) * len(line) / size - 0.5
    shrunk: NDArray[Any] = np.interp(at, np.arange(len(line)), line)
    return shrunk


def test_a_shrunk_row_is_the_image_somewhere_in_an_empty_frame() -> None:
    image = noise(31, 23, 2) * 0.5 + 0.5
    values = np.repeat(image[np.newaxis], 50, axis=0)
    after = cleaned(RandomResizePad(smallest=0.4), values, (-1.0, 1.0))
    places = set()
    for row in after:
        lines, columns = (
            np.nonzero((row[..., 0] != -1.0).any(axis=1))[0],
            np.nonzero((row[..., 0] != -1.0).any(axis=0))[0],
        )
        tall, wide = len(lines), len(columns)
        assert 0.4 * 31 - 0.5 <= tall <= 31
        assert abs(tall / 31 - wide / 23) < 0.05
        box = row[lines[0] : lines[0] + tall, columns[0] : columns[0] + wide]
        expected = np.apply_along_axis(linear, 1, np.apply_along_axis(linear, 0, image, tall), wide)
        np.testing.assert_allclose(box, expected, atol=1e-12)
        assert (row == -1.0).sum() == row.size - box.size
        places.add((tall, wide, lines[0], columns[0]))
    assert len(places) > 40


def test_noise_has_the_deviation_that_was_asked_for() -> None:
    values = np.full((4, 100, 100, 1), 100.0, dtype=np.float32)
    noisy = cleaned(RandomNoise(sigma=0.02), values, (0.0, 255.0)).astype(np.float64) - 100.0
    assert abs(noisy.std() / (0.02 * 255) - 1) < 0.02
    assert abs(noisy.mean()) < 0.1
    assert scipy.stats.kstest(noisy.ravel() / (0.02 * 255), "norm").pvalue > 1e-3


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
@pytest.mark.parametrize("bounds", [(0.0, 1.0), (-1.0, 3.0)])
def test_bit_depth_takes_the_nearest_level(bits: int, bounds: tuple[float, float]) -> None:
    values = noise(1, 20, 20) * (bounds[1] - bounds[0]) + bounds[0]
    levels = np.linspace(*bounds, 2**bits)
    expected = levels[np.abs(values[..., np.newaxis] - levels).argmin(axis=-1)]
    np.testing.assert_allclose(cleaned(BitDepth(bits=bits), values, bounds), expected, atol=1e-12)
