"""What a row is boiled down to: near rows stay near, equal rows stay equal, and any input goes through."""

import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from detectors.features import Extractor, Scaling, summarise, unknown
from detectors.features.reduce import blocks, mixed, windows
from detectors.observation import DIMENSIONS, FINGERPRINT, NO_CLASS

SALT = b"sixteen bytes or more"
IMAGES = np.random.default_rng(0).random((20, 28, 28, 1)).astype(np.float32) ** 3


def shared(one: np.ndarray, other: np.ndarray) -> int:
    return len(np.intersect1d(one[one > 0], other[other > 0]))


def test_equal_rows_have_equal_digests_and_others_have_not() -> None:
    extract = Extractor(SALT)
    rows = np.concatenate([IMAGES[:3], IMAGES[:1]])
    digests = extract({"x": rows}, 4).digests
    assert digests[0] == digests[3]
    assert len(set(digests.tolist())) == 3
    moved = rows.copy()
    moved[0, 0, 0, 0] = np.nextafter(moved[0, 0, 0, 0], 1)
    assert extract({"x": moved}, 4).digests[0] != digests[0]
    assert extract({"y": rows}, 4).digests[0] != digests[0], "another input"
    assert extract({"x": rows[:1]}, 1).digests[0] == digests[0], "another batch"


def test_another_salt_is_another_world() -> None:
    one, other = (Extractor(salt)({"x": IMAGES}, 20) for salt in (SALT, SALT[::-1]))
    assert not np.isin(one.digests, other.digests).any()
    assert not np.isin(one.fingerprints, other.fingerprints[other.fingerprints > 0]).any()
    gaps = [np.linalg.norm(each.embeddings[0] - each.embeddings[1]) for each in (one, other)]
    assert gaps[0] == pytest.approx(gaps[1], rel=1e-4), "49 blocks are only turned"
    assert np.linalg.norm(one.embeddings[0] - other.embeddings[0]) > 0.1
    with pytest.raises(ValueError, match="16"):
        Extractor(b"short")


def test_a_little_noise_brightness_and_contrast_leave_an_image_near() -> None:
    extract = Extractor(SALT)
    rng = np.random.default_rng(1)
    smooth = np.repeat(np.repeat(rng.random((10, 7, 7, 1)), 4, axis=1), 4, axis=2).astype(np.float32)
    changed = (smooth + rng.uniform(-8 / 255, 8 / 255, smooth.shape)).clip(0, 1).astype(np.float32)
    plain, noisy, dim = (
        extract({"x": rows}, 10) for rows in (smooth, changed, smooth * np.float32(0.7) + np.float32(0.1))
    )
    between = np.linalg.norm(plain.embeddings[:5] - plain.embeddings[5:], axis=1).min()
    assert np.linalg.norm(plain.embeddings - noisy.embeddings, axis=1).max() < between / 4
    assert np.linalg.norm(plain.embeddings - dim.embeddings, axis=1).max() < between / 100
    assert shared(plain.fingerprints[0], dim.fingerprints[0]) > FINGERPRINT // 2
    assert shared(plain.fingerprints[0], plain.fingerprints[1]) < FINGERPRINT // 4


def test_texts_that_say_nearly_the_same_are_near() -> None:
    rows = np.empty((3, 1), dtype=object)
    rows[:, 0] = [
        b"the quick brown fox jumps over the lazy dog near the river",
        b"the quick brown fox jumps over the lazy cat near the river",
        b"an entirely different sentence about taxes, forms and deadlines",
    ]
    found = Extractor(SALT)({"text": rows}, 3)
    near, far = (np.linalg.norm(found.embeddings[0] - found.embeddings[at]) for at in (1, 2))
    assert near < far / 2
    assert shared(found.fingerprints[0], found.fingerprints[1]) > shared(found.fingerprints[0], found.fingerprints[2])


def test_rows_that_repeat_have_the_features_of_one() -> None:
    kinds = np.random.default_rng(4).integers(0, 3, 50).tolist()
    texts, numbers = np.empty((50, 2), dtype=object), np.zeros((50, 2), dtype=np.float32)
    for at, kind in enumerate(kinds):
        texts[at] = [b"first of %d, in so many words that windows fit" % (kind // 2), "second"]
        numbers[at] = kind  # the last two kinds differ in this alone
    extract = Extractor(SALT)
    found = extract({"text": texts, "numbers": numbers}, 50)
    for at in range(50):
        alone = extract({"text": texts[at : at + 1], "numbers": numbers[at : at + 1]}, 1)
        assert found.digests[at] == alone.digests[0]
        assert found.fingerprints[at].tolist() == alone.fingerprints[0].tolist()
        np.testing.assert_allclose(found.embeddings[at], alone.embeddings[0], atol=1e-6)
    assert len(set(found.digests.tolist())) == 3


def test_scaling_keeps_a_large_unit_from_drowning_the_others() -> None:
    rng = np.random.default_rng(2)
    rows = np.stack([rng.normal(0, 1, 500), rng.normal(5e6, 1e6, 500), np.full(500, 3.0)], axis=1).astype(np.float32)
    scaling = Scaling.of(rows)
    moved = rows[:2] + np.array([[3, 0, 0], [0, 10, 0]], dtype=np.float32)
    plain = Extractor(SALT, {"x": scaling})
    one, other = plain({"x": rows[:2]}, 2), plain({"x": moved}, 2)
    gaps = np.linalg.norm(one.embeddings - other.embeddings, axis=1)
    assert gaps[0] > 1
    assert gaps[1] < 1e-3
    assert scaling(np.zeros((1, 5), np.float32)).shape == (1, 5), "other columns pass as they are"


arrays = st.one_of(
    hnp.arrays(
        st.sampled_from([np.float32, np.float64, np.int32, np.int64, np.uint8, np.float16, np.bool_]),
        hnp.array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=12),
    ),
    st.lists(st.binary(max_size=60), min_size=1, max_size=5).map(lambda values: np.array(values, dtype=object)),
)


@given(arrays)
def test_any_input_gives_finite_features_of_the_stated_shape(values: np.ndarray) -> None:
    rows = len(values)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = Extractor(SALT)({"x": values, "other": np.zeros(rows + 1)}, rows)
    assert found.digests.shape == (rows,)
    assert found.fingerprints.shape == (rows, FINGERPRINT)
    assert found.embeddings.shape == (rows, DIMENSIONS)
    assert found.embeddings.dtype == np.float32
    assert np.isfinite(found.embeddings).all()
    for row in found.fingerprints:
        kept = row[row > 0]
        assert (np.diff(kept.astype(object)) > 0).all(), "ascending, each once"
        assert not row[len(kept) :].any()


@given(hnp.arrays(np.uint64, st.integers(0, 40), elements=st.integers(0, 300)), st.integers(1, 23))
def test_a_window_hash_is_that_of_its_values(values: np.ndarray, width: int) -> None:
    found = windows(values, width)
    assert len(found) == max(0, len(values) - width + 1)
    for at in range(len(found)):
        whole = 0
        for value in values[at : at + width].tolist():
            whole = (whole * 0x9E3779B97F4A7C15 + value + 1) % 2**64
        assert found[at] == mixed(np.array([whole], dtype=np.uint64))[0]


@given(st.integers(1, 60), st.integers(1, 60), st.integers(1, 3), st.integers(1, 12))
def test_blocks_are_averages(height: int, width: int, channels: int, side: int) -> None:
    images = np.random.default_rng(0).random((2, height, width, channels)).astype(np.float32)
    found = blocks(images, side)
    assert found.shape == (2, min(side, height), min(side, width), channels)
    if height % side == 0 and width % side == 0:
        expected = images.reshape(2, side, height // side, side, width // side, channels).mean(axis=(2, 4))
        np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_answers_are_class_margin_and_entropy() -> None:
    found = summarise(np.array([[0.7, 0.2, 0.1], [1 / 3, 1 / 3, 1 / 3], [5.0, -2.0, 0.0], [np.nan, 0.5, 0.5]]))
    assert found.classes.tolist() == [0, 0, NO_CLASS, NO_CLASS]
    np.testing.assert_allclose(found.margins[:2], [0.5, 0], atol=1e-6)
    assert found.entropies[1] == pytest.approx(1)
    assert np.isnan(found.margins[2:]).all()
    binary = summarise(np.array([0.9, 0.2]))
    assert binary.classes.tolist() == [1, 0]
    np.testing.assert_allclose(binary.margins, [0.8, 0.6], atol=1e-6)
    assert unknown(2).classes.tolist() == [NO_CLASS] * 2
