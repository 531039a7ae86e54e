"""The attackers' own parts: what they send stays within the bound, and their gradients are the right ones."""

from dataclasses import replace

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from benchmarks.defenses.adaptive import Attacker, through
from benchmarks.defenses.queries import Memory, hop_skip_jump
from benchmarks.defenses.scale import EPSILON, TINY
from benchmarks.defenses.served import Answers, Caller
from benchmarks.defenses.suite import FULL, Defense
from benchmarks.defenses.surrogate import other_images
from defenses.input import RandomResizePad


@given(seed=st.integers(0, 2**32), side=st.integers(4, 12))
def test_the_way_back_through_resize_and_pad_is_its_transpose(seed: int, side: int) -> None:
    rng = np.random.default_rng(seed)
    images = rng.random((3, side, side, 1), dtype=np.float32)
    seen, (pull,) = through((RandomResizePad(smallest=0.5),), images, rng)
    gradient = rng.standard_normal(images.shape).astype(np.float32)
    forward = (seen * gradient).sum(axis=(1, 2, 3))
    backward = (images * pull(gradient)).sum(axis=(1, 2, 3))
    np.testing.assert_allclose(forward, backward, atol=1e-3)


@pytest.mark.parametrize("defense", [d for d in FULL.evasion if d.inputs], ids=lambda defense: defense.name)
def test_adaptive_images_stay_within_the_bound(defense: Defense) -> None:
    rng = np.random.default_rng(0)
    images = rng.random((3, 8, 8, 1), dtype=np.float32)
    network = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Flatten(), keras.layers.Dense(4)])
    attacker = Attacker(network, defense.input_steps(), draws=2, rng=rng)
    adversarial = attacker(images, np.array([0, 1, 2]), (images,), steps=3)
    assert np.abs(adversarial - images).max() <= EPSILON + 1e-6
    assert adversarial.min() >= 0
    assert adversarial.max() <= 1


def test_remembered_images_are_asked_for_once() -> None:
    asked = []

    def ask(images: NDArray[np.float32]) -> NDArray[np.float32]:
        asked.extend(images.ravel().tolist())
        return 10 * images.reshape(-1, 1)

    memory = Memory(ask)
    images = np.arange(4, dtype=np.float32).reshape(4, 1, 1, 1)
    assert memory(images[[0, 1, 1, 2]]).ravel().tolist() == [0, 10, 10, 20]
    assert memory(images).ravel().tolist() == [0, 10, 20, 30]
    assert sorted(asked) == [0, 1, 2, 3]


RNG = np.random.default_rng(0)


class Coin(Caller):
    """A model of two classes that answers at random."""

    def __call__(self, images: NDArray[np.float32]) -> Answers:
        self.rows += len(images)
        logits = RNG.standard_normal((len(images), 2)).astype(np.float32)
        return Answers(logits, logits)


def test_hop_skip_jump_ends_whatever_the_answers_are() -> None:
    images = np.random.default_rng(1).random((20, 8, 8, 1), dtype=np.float32)
    with Coin("localhost:1", "coin") as caller:
        found = hop_skip_jump(caller, images, np.zeros(20, dtype=np.int64), replace(TINY, hop_rows=20), seed=0)
    assert found.accuracy.rows == 20
    assert 0 < found.queries <= TINY.hop_queries + 1


def test_other_images_are_the_same_for_the_same_seed() -> None:
    one, other = (other_images(5, 28, np.random.default_rng(1)) for _ in range(2))
    assert one.shape == (5, 28, 28, 1)
    assert one.dtype == np.float32
    assert 0 <= one.min() <= one.max() <= 1
    np.testing.assert_array_equal(one, other)
