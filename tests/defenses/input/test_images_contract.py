"""What every step for images owes through a chain, whatever the images."""

import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from numpy.typing import NDArray

from defenses.input import BitDepth, InputChain, InputDefense, InvalidInputError, Jpeg, Median, Shape
from tests.defenses.input.images import (
    FILTERS,
    LEVELS,
    NOISE,
    PLACED,
    SHAPE,
    STEPS,
    Range,
    batches,
    names,
    repeatable,
    seeds_for,
)

each_step = pytest.mark.parametrize("step", STEPS, ids=names)


def photo(rows: int = 3) -> NDArray[np.float32]:
    return np.random.default_rng(5).random((rows, 16, 16, 3), dtype=np.float32)


@each_step
@repeatable
@given(batch=batches())
def test_shape_dtype_and_range_stay(step: InputDefense, batch: tuple[NDArray[Any], Range]) -> None:
    values, (low, high) = batch
    before = values.tobytes()
    after = InputChain("x", (step,), (low, high))(values, seeds_for(len(values)))
    assert (after.shape, after.dtype) == (values.shape, values.dtype)
    assert values.tobytes() == before
    lowest, highest = (low, high) if step.ranged else (values.min(), values.max())
    assert after.min() >= lowest
    assert after.max() <= highest


@each_step
@repeatable
@given(batch=batches(), others=batches())
def test_a_row_does_not_depend_on_its_neighbours(
    step: InputDefense, batch: tuple[NDArray[Any], Range], others: tuple[NDArray[Any], Range]
) -> None:
    values, bounds = batch
    chain = InputChain("x", (step,), bounds)
    seeds = seeds_for(len(values))
    together = chain(values, seeds)
    strangers = np.resize(others[0].astype(np.float64), (2, *values.shape[1:])).clip(0, 9).astype(values.dtype)
    crowd = np.concatenate([strangers, values[::-1]])
    crowded = chain(crowd, np.concatenate([seeds_for(2, seed=8), seeds[::-1]]))[2:][::-1]
    assert crowded.tobytes() == together.tobytes()
    for row in range(len(values)):
        alone = chain(values[row : row + 1], seeds[row : row + 1])
        assert alone.tobytes() == together[row].tobytes()


@pytest.mark.parametrize("step", STEPS, ids=names)
def test_a_row_is_the_same_in_a_batch_of_many_pieces(step: InputDefense) -> None:
    values = np.random.default_rng(2).random((90, 29, 31, 1), dtype=np.float32)  # more values than a piece holds
    chain = InputChain("x", (step,), (0.0, 1.0))
    seeds = seeds_for(len(values))
    together = chain(values, seeds)
    for row in (0, 1, 44, 88, 89):
        assert chain(values[row : row + 1], seeds[row : row + 1]).tobytes() == together[row].tobytes()


@pytest.mark.parametrize("shape", [(1, 1, 200), (5, 1, 40), (1, 5, 40)])
@pytest.mark.parametrize("step", STEPS, ids=names)
def test_a_row_of_many_channels_is_the_same_in_every_batch(step: InputDefense, shape: tuple[int, ...]) -> None:
    values = np.random.default_rng(2).random((9, *shape), dtype=np.float32)
    chain = InputChain("x", (step,), (0.0, 1.0))
    together = chain(values, seeds_for(9))
    assert chain(values[4:5], seeds_for(9)[4:5]).tobytes() == together[4].tobytes()


@pytest.mark.parametrize("step", FILTERS + PLACED, ids=names)
def test_rows_with_their_channels_elsewhere_are_refused(step: InputDefense) -> None:
    with pytest.raises(InvalidInputError, match="a row has 257 channels; send images of up to 256, channels last"):
        InputChain("x", (step,), (0.0, 1.0))(np.zeros((1, 3, 2, 257)), seeds_for(1))


@each_step
def test_how_an_array_lies_in_memory_does_not_matter(step: InputDefense) -> None:
    values = photo()
    chain = InputChain("x", (step,), (0.0, 1.0))
    expected = chain(values, seeds_for(3)).tobytes()
    for other in (np.asfortranarray(values), np.repeat(values, 2, axis=2)[:, :, ::2]):
        assert np.ascontiguousarray(chain(other, seeds_for(3))).tobytes() == expected


@pytest.mark.parametrize("step", PLACED + NOISE, ids=names)
def test_randomness_comes_from_the_seeds_alone(step: InputDefense) -> None:
    values = np.repeat(photo(1), 3, axis=0)
    chain = InputChain("x", (step,), (0.0, 1.0))
    first = chain(values, seeds_for(3))
    assert chain(values, seeds_for(3)).tobytes() == first.tobytes()
    assert all(chain(values, seeds_for(3, seed=1))[row].tobytes() != first[row].tobytes() for row in range(3))
    assert first[0].tobytes() != first[1].tobytes()


@pytest.mark.parametrize("step", FILTERS + LEVELS, ids=names)
def test_what_is_not_random_ignores_the_seeds(step: InputDefense) -> None:
    chain = InputChain("x", (step,), (0.0, 1.0))
    assert chain(photo(), seeds_for(3)).tobytes() == chain(photo(), seeds_for(3, seed=1)).tobytes()


@each_step
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_nan_and_infinity_are_refused_by_row(step: InputDefense, value: float, dtype: Any) -> None:
    values = photo().astype(dtype)
    values[1, 2, 3, 0] = value
    with pytest.raises(InvalidInputError, match=rf"^row 1 holds {value}; send finite numbers$"):
        InputChain("x", (step,), (0.0, 1.0))(values, seeds_for(3))


@each_step
@pytest.mark.parametrize(
    ("values", "named"),
    [
        (np.full((1, 4, 4), b"x", dtype=object), "strings"),
        (np.zeros((1, 4, 4), dtype=np.bool_), "booleans"),
        (np.zeros((1, 4, 4), dtype=np.complex64), "complex numbers"),
    ],
)
def test_what_are_no_numbers_is_refused(step: InputDefense, values: NDArray[Any], named: str) -> None:
    with pytest.raises(InvalidInputError, match=f"^{step.kind} takes numbers, not {named}; send"):
        InputChain("x", (step,), (0.0, 1.0))(values, seeds_for(1))


@pytest.mark.parametrize("step", FILTERS + PLACED, ids=names)
@pytest.mark.parametrize("shape", [(2,), (2, 7), (2, 3, 4, 3, 1)])
def test_rows_that_are_no_images_are_refused(step: InputDefense, shape: tuple[int, ...]) -> None:
    with pytest.raises(InvalidInputError) as refusal:
        InputChain("x", (step,), (0.0, 1.0))(np.zeros(shape, dtype=np.float32), seeds_for(2))
    assert f"a row has the shape {list(shape[1:])}, and an image has [height, width]" in str(refusal.value)


@pytest.mark.parametrize("step", LEVELS + NOISE, ids=names)
def test_value_by_value_steps_take_rows_of_any_shape(step: InputDefense) -> None:
    assert InputChain("x", (step,), (0.0, 1.0))(np.full((2, 7), 0.3), seeds_for(2)).shape == (2, 7)


@pytest.mark.parametrize("step", STEPS + SHAPE, ids=names)
@pytest.mark.parametrize("shape", [(0, 4, 4), (0,), (2, 0, 3), (2, 3, 0, 1)])
def test_no_values_are_nothing_to_do(step: InputDefense, shape: tuple[int, ...]) -> None:
    values = np.zeros(shape, dtype=np.float32)
    assert InputChain("x", (step,), (0.0, 1.0))(values, seeds_for(shape[0])).shape == shape


@pytest.mark.parametrize("size", range(2, 10))
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_what_a_median_leaves_keeps_its_bits(size: int, dtype: Any) -> None:
    values = np.where(np.arange(40) % 3 == 0, -0.0, 0.0).reshape(1, 5, 8).astype(dtype)
    assert InputChain("x", (Median(size=size),))(values, seeds_for(1)).tobytes() == values.tobytes()


@pytest.mark.parametrize("size", range(2, 10))
def test_a_median_of_zeros_of_both_signs_has_one_sign(size: int) -> None:
    """Which of the two a minimum takes depends on where in the array it stands, so on the row's neighbours."""
    values = np.random.default_rng(0).choice([-0.0, -0.0, 0.0, 0.0, 5.0], size=(3, 12, 11)).astype(np.float32)
    after = InputChain("x", (Median(size=size),))(values, seeds_for(3))
    became_zero = (values == 5.0) & (after == 0.0)
    assert became_zero.any()
    assert not np.signbit(after[became_zero]).any()


@pytest.mark.parametrize(("dtype", "bounds"), [("float32", (0.0, 1.0)), ("float32", (0.0, 255.0)), ("uint8", (0, 255))])
def test_eight_bits_keep_the_bits_of_eight_bit_images(dtype: str, bounds: Range) -> None:
    levels = np.arange(256).reshape(1, 16, 16)
    values = (levels.astype(dtype) / np.array(255 / bounds[1], dtype=dtype)).astype(dtype)
    assert InputChain("x", (BitDepth(bits=8),), bounds)(values, seeds_for(1)).tobytes() == values.tobytes()


def test_large_integers_that_nothing_changes_stay_exact() -> None:
    values = np.full((1, 4, 4), 2**62 + 1, dtype=np.int64)
    assert InputChain("x", (Median(size=3),))(values, seeds_for(1)).tobytes() == values.tobytes()


def test_a_shape_passes_whatever_fits_bit_for_bit() -> None:
    values = np.array([np.nan, -0.0, np.inf, 1e-45], dtype=np.float32).reshape(1, 2, 2)
    assert InputChain("x", (Shape(sizes=(2, None)),))(values, seeds_for(1)).tobytes() == values.tobytes()


@pytest.mark.parametrize(
    ("sizes", "text"),
    [
        ((28, 28), r"a row has the shape [4, 5, 3]; [28, 28] is accepted"),
        ((4, 5), r"a row has the shape [4, 5, 3]; [4, 5] is accepted"),
        ((None, (6, 9), 3), r"a row has the shape [4, 5, 3]; [any, 6 to 9, 3] is accepted"),
    ],
)
def test_other_shapes_are_refused(sizes: Any, text: str) -> None:
    with pytest.raises(InvalidInputError) as refusal:
        InputChain("x", (Shape(sizes=sizes),))(np.zeros((2, 4, 5, 3)), seeds_for(2))
    assert str(refusal.value) == text


def test_jpeg_says_at_once_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(ValueError, match=r"jpeg needs Pillow; install it with: pip install 'tensorwall\[images\]'"):
        Jpeg()


def test_jpeg_refuses_what_the_format_cannot_hold() -> None:
    with pytest.raises(InvalidInputError, match="a JPEG holds up to 65500 pixels a side"):
        InputChain("x", (Jpeg(),), (0.0, 1.0))(np.zeros((1, 1, 65_501), dtype=np.float32), seeds_for(1))


@pytest.mark.parametrize(
    ("model", "settings", "text"),
    [
        (Jpeg, {"quality": [80, 20]}, "quality is [80, 20]; write [LOWEST, HIGHEST]"),
        (Jpeg, {"quality": 0}, "greater than or equal to 1"),
        (Median, {"size": 10}, "less than or equal to 9"),
        (BitDepth, {"bits": 17}, "less than or equal to 16"),
        (BitDepth, {"bits": 4, "levels": 3}, "Extra inputs are not permitted"),
        (Shape, {"sizes": [0]}, "greater than or equal to 1"),
    ],
)
def test_settings_are_checked(model: Any, settings: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError) as refusal:
        model(**settings)
    assert text in str(refusal.value)
