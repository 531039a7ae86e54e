"""What is particular to each kind of defense."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from defenses.output import (
    AnswerDefense,
    Chain,
    LabelOnly,
    Noise,
    ReverseSigmoid,
    Round,
    Semantics,
    Temperature,
    TopK,
)
from tests.defenses.output.rows import keys_for

P, LOGITS, BINARY = Semantics.PROBABILITIES, Semantics.LOGITS, Semantics.BINARY


def apply(step: AnswerDefense, values: Any, semantics: Semantics = P, seed: int = 0) -> NDArray[np.float64]:
    array = np.asarray(values, dtype=np.float64)
    return Chain("out", semantics, (step,))(array, keys_for(len(array), seed)).values


def softmax(x: NDArray[np.float64]) -> NDArray[np.float64]:
    powers = np.exp(x - x.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


@pytest.fixture
def probabilities() -> NDArray[np.float64]:
    return np.random.default_rng(0).dirichlet(np.full(10, 0.5), size=200)


@pytest.mark.parametrize(
    "step",
    [
        TopK(k=3),
        TopK(k=3, rest="uniform"),
        Temperature(temperature=4.0),
        Temperature(temperature=0.3),
        ReverseSigmoid(),
        ReverseSigmoid(beta=0.3, gamma=0.7),
    ],
)
def test_a_softmax_of_hardened_logits_is_the_hardened_softmax(step: AnswerDefense) -> None:
    logits = np.random.default_rng(1).normal(size=(200, 10)) * 3
    expected = apply(step, softmax(logits))
    np.testing.assert_allclose(softmax(apply(step, logits, LOGITS)), expected, atol=1e-10)


def test_top_k_keeps_places_and_tells_nothing_of_the_rest() -> None:
    row = [[0.1, 0.4, 0.2, 0.25, 0.05]]
    np.testing.assert_allclose(apply(TopK(k=2), row), [[0.0, 0.4 / 0.65, 0.0, 0.25 / 0.65, 0.0]])
    uniform = apply(TopK(k=2, rest="uniform"), row)
    np.testing.assert_allclose(uniform, [[0.35 / 3, 0.4, 0.35 / 3, 0.25, 0.35 / 3]])
    assert apply(TopK(k=2), [[3.0, 1.0, 2.0, -1.0]], LOGITS).tolist() == [[3.0, -28.0, 2.0, -28.0]]


def test_top_k_takes_the_first_of_equals_and_leaves_short_rows_alone() -> None:
    np.testing.assert_allclose(apply(TopK(k=2), [[0.3, 0.3, 0.3, 0.1]]), [[0.5, 0.5, 0.0, 0.0]])
    row = [[0.2, 0.5, 0.3]]
    assert apply(TopK(k=3), row).tolist() == row
    assert apply(TopK(k=50, rest="uniform"), row).tolist() == row


@pytest.mark.parametrize("step", [TopK(k=3), TopK(k=3, rest="uniform"), LabelOnly()])
def test_selecting_twice_is_selecting_once(step: AnswerDefense, probabilities: NDArray[np.float64]) -> None:
    once = apply(step, probabilities)
    np.testing.assert_allclose(apply(step, once), once, atol=1e-15)


def test_label_only_says_the_class_only() -> None:
    assert apply(LabelOnly(), [[0.2, 0.4, 0.4]]).tolist() == [[0.0, 1.0, 0.0]]
    assert apply(LabelOnly(), [[-3.0, 900.0, 2.0]], LOGITS).tolist() == [[0.0, 20.0, 0.0]]
    assert apply(LabelOnly(), [[0.49], [0.5], [0.51]], BINARY).tolist() == [[0.0], [0.5], [1.0]]


def test_temperature_keeps_zeros_and_goes_to_the_label_and_to_the_uniform_row() -> None:
    row = [[0.0, 0.7, 0.3]]
    np.testing.assert_allclose(apply(Temperature(temperature=2.0), row), [[0.0, 0.604356, 0.395644]], atol=1e-6)
    np.testing.assert_allclose(apply(Temperature(temperature=0.01), row), [[0.0, 1.0, 0.0]], atol=1e-12)
    np.testing.assert_allclose(apply(Temperature(temperature=1000.0), row), [[0.0, 0.5, 0.5]], atol=1e-3)
    tiny = [[1.0 - 1e-300, 5e-324, 1e-300]]
    flat = apply(Temperature(temperature=1000.0), tiny)
    assert flat.min() > 0.1
    assert apply(Temperature(temperature=5e-324), row).tolist() == [[0.0, 1.0, 0.0]]


def test_temperature_of_a_binary_probability_turns_around_the_threshold() -> None:
    chain = Chain("out", BINARY, (Temperature(temperature=2.0),), threshold=0.2)
    p = np.array([[0.0], [0.1], [0.2], [0.9], [1.0]])
    odds = np.log(p[1:4] / (1 - p[1:4]))
    expected = 1 / (1 + np.exp(-(np.log(0.25) + (odds - np.log(0.25)) / 2)))
    after = chain(p, keys_for(5)).values
    np.testing.assert_allclose(after[1:4], expected)
    assert after[[0, 2, 4], 0].tolist() == [0.0, 0.2, 1.0]


@pytest.mark.parametrize(("norm", "order"), [("l1", 1), ("linf", np.inf)])
@pytest.mark.parametrize("epsilon", [0.01, 0.1, 1.0])
@pytest.mark.parametrize("semantics", [P, LOGITS])
def test_noise_moves_each_row_and_never_further_than_epsilon(
    norm: Any, order: float, epsilon: float, semantics: Semantics, probabilities: NDArray[np.float64]
) -> None:
    values = probabilities if semantics is P else np.log(probabilities)
    step = Noise(epsilon=epsilon, norm=norm)
    moved = np.linalg.norm(apply(step, values, semantics) - values, ord=order, axis=1)
    assert moved.max() <= epsilon * (1 + 1e-9)
    assert moved.min() > 0.0
    assert np.median(moved) > epsilon / 8


def test_noise_reaches_a_sure_winner_among_a_thousand_classes() -> None:
    """Else the confidence, which membership inference reads, would stay exact."""
    p = np.full((500, 1000), 0.1 / 999)
    p[:, 3] = 0.9
    top = apply(Noise(epsilon=0.2), p)[:, 3]
    assert top.std() > 0.01
    assert top.min() < 0.87
    assert top.max() > 0.93


@pytest.mark.parametrize("semantics", [P, LOGITS, BINARY])
def test_asking_again_gives_the_same_noise_and_another_key_gives_another(
    semantics: Semantics, probabilities: NDArray[np.float64]
) -> None:
    values = {P: probabilities, LOGITS: np.log(probabilities), BINARY: probabilities[:, :1]}[semantics]
    step = Noise(epsilon=0.2)
    first = apply(step, values, semantics)
    for _ in range(5):
        assert apply(step, values, semantics).tobytes() == first.tobytes()
    other = apply(step, values, semantics, seed=1)
    # A lone probability near 0 or 1 may meet the same bound under both keys.
    assert (other != first).any(axis=1).mean() > (0.5 if semantics is BINARY else 0.999)


def test_averaging_one_rows_answers_gains_nothing_and_those_of_many_keys_would() -> None:
    p = np.tile([0.5, 0.3, 0.2], (4000, 1))
    chain = Chain("out", P, (Noise(epsilon=0.1),))
    same_key = chain(p, np.full(4000, keys_for(1)[0])).values
    fresh_keys = chain(p, keys_for(4000)).values
    assert np.abs(same_key.mean(axis=0) - p[0]).sum() > 0.03
    assert np.abs(fresh_keys.mean(axis=0) - p[0]).sum() < 0.003


def test_noise_does_not_pile_up_where_the_decision_turns() -> None:
    """A level winner or a probability at the threshold would tell how near the boundary is."""
    p = np.tile([0.5001, 0.4999], (2000, 1))
    noisy = apply(Noise(epsilon=0.2), p)
    assert len(np.unique(noisy[:, 0])) == 2000
    assert np.quantile(noisy[:, 0] - noisy[:, 1], 0.2) > 0.01
    for p_yes in (0.4999, 0.001):
        binary = apply(Noise(epsilon=0.2), np.full((2000, 1), p_yes), BINARY)
        assert len(np.unique(binary)) == 2000
        assert binary.max() < 0.5
        assert np.abs(binary - p_yes).max() <= 0.2


def test_reverse_sigmoid_is_the_formula_of_the_paper() -> None:
    p = np.array([[0.9, 0.07, 0.03]])
    reversed_sigmoid = p - 0.5 * (1 / (1 + np.exp(-0.2 * np.log(p / (1 - p)))) - 0.5)
    expected = reversed_sigmoid / reversed_sigmoid.sum()
    np.testing.assert_allclose(apply(ReverseSigmoid(beta=0.5, gamma=0.2), p), expected)


def test_reverse_sigmoid_has_no_inverse() -> None:
    """More confident rows are answered with less confidence somewhere on the way: two rows, one answer."""
    p = np.linspace(0.5001, 0.99999, 2000)
    rows = np.stack([p, np.full_like(p, 1e-6), 1 - p - 1e-6], axis=1)
    top = apply(ReverseSigmoid(beta=1.0, gamma=0.9), rows / rows.sum(axis=1, keepdims=True))[:, 0]
    slope = np.sign(np.diff(top))
    assert {-1.0, 1.0} <= set(slope)


@pytest.mark.parametrize("semantics", [P, LOGITS])
def test_one_hot_rows_survive_the_strongest_settings(semantics: Semantics) -> None:
    rows = np.eye(6) * (1.0 if semantics is P else 1e6)
    for step in (ReverseSigmoid(beta=1.0, gamma=1.0), Noise(epsilon=1000.0), Temperature(temperature=1000.0)):
        assert apply(step, rows, semantics).argmax(axis=1).tolist() == list(range(6))


def test_a_chain_applies_its_steps_in_order() -> None:
    row = np.array([[0.55, 0.3, 0.1, 0.05]])
    steps = (TopK(k=2), Round(decimals=1))
    both = Chain("out", P, steps)(row, keys_for(1)).values
    np.testing.assert_allclose(both, apply(steps[1], apply(steps[0], row)))
    np.testing.assert_allclose(both, [[0.6, 0.4, 0.0, 0.0]])
    swapped = Chain("out", P, steps[::-1])(row, keys_for(1)).values
    np.testing.assert_allclose(swapped, [[2 / 3, 1 / 3, 0.0, 0.0]])
