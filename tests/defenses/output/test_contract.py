"""What every answer defense owes, alone and in chains, whatever the row."""

from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from numpy.typing import NDArray

from defenses.output import Chain, Semantics, SemanticsMismatchError, check
from defenses.output.semantics import sum_tolerance
from tests.defenses.output.rows import DTYPES, batches, chains, keys_for, neighbour, repeatable

OVER_CLASSES = [Semantics.PROBABILITIES, Semantics.LOGITS]
HARDENED = [*OVER_CLASSES, Semantics.BINARY, Semantics.VALUES]


def draw_batch(data: st.DataObject, semantics: Semantics, dtype: np.dtype[Any]) -> NDArray[Any]:
    values = data.draw(batches(semantics, dtype))
    assume_means(values, semantics)
    values.flags.writeable = False
    return values


def assume_means(values: NDArray[Any], semantics: Semantics) -> None:
    """Leaves out other numbers that happen to be probability vectors, which a chain refuses."""
    try:
        check(values, semantics, "out")
    except SemanticsMismatchError:
        assume(False)


def assert_same_class(before: NDArray[Any], after: NDArray[Any]) -> None:
    """The first maximum stays, and one that had no equal has none now."""
    wide, hardened = before.astype(np.float64), after.astype(np.float64)
    np.testing.assert_array_equal(hardened.argmax(axis=-1), wide.argmax(axis=-1))
    sole = (wide == wide.max(axis=-1, keepdims=True)).sum(axis=-1) == 1
    still = (hardened == hardened.max(axis=-1, keepdims=True)).sum(axis=-1) == 1
    assert still[sole].all()


def assert_distribution(rows: NDArray[Any]) -> None:
    wide = rows.astype(np.float64)
    assert ((wide >= 0.0) & (wide <= 1.0)).all()
    np.testing.assert_allclose(wide.sum(axis=1), 1.0, atol=sum_tolerance(rows.dtype))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("semantics", HARDENED)
@repeatable
@given(data=st.data())
def test_shape_type_finiteness_class_and_input_stay(
    semantics: Semantics, dtype: np.dtype[Any], data: st.DataObject
) -> None:
    values = draw_batch(data, semantics, dtype)
    before = values.tobytes()
    keys = keys_for(len(values), data.draw(st.integers(0, 50)))
    for chain in chains(semantics):
        after = chain(values, keys).values
        assert (after.shape, after.dtype) == (values.shape, values.dtype)
        assert np.isfinite(after.astype(np.float64)).all()
        assert values.tobytes() == before
        if semantics in OVER_CLASSES:
            assert_same_class(values, after)
        if semantics is Semantics.PROBABILITIES:
            assert_distribution(after)


@pytest.mark.parametrize("threshold", [0.5, 0.3, 0.001, 0.97])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@repeatable
@given(data=st.data())
def test_a_binary_probability_stays_on_its_side(dtype: np.dtype[Any], threshold: float, data: st.DataObject) -> None:
    values = draw_batch(data, Semantics.BINARY, dtype).copy()
    edge = dtype.type(threshold)
    values[0, 0], values[0, 1] = neighbour(edge, data.draw(st.sampled_from([0.0, 1.0]))), edge
    assume_means(values, Semantics.BINARY)
    for chain in chains(Semantics.BINARY):
        after = Chain("out", Semantics.BINARY, chain.steps, threshold)(values, keys_for(len(values))).values
        assert ((after.astype(np.float64) >= 0.0) & (after.astype(np.float64) <= 1.0)).all()
        for at in (threshold, float(edge)):  # as a client may compare: in float64, or in the type
            np.testing.assert_array_equal(after.astype(np.float64) > at, values.astype(np.float64) > at)
            np.testing.assert_array_equal(after.astype(np.float64) < at, values.astype(np.float64) < at)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("semantics", HARDENED)
@repeatable
@given(data=st.data())
def test_a_row_does_not_depend_on_its_neighbours(
    semantics: Semantics, dtype: np.dtype[Any], data: st.DataObject
) -> None:
    values = draw_batch(data, semantics, dtype)
    keys = keys_for(len(values))
    for chain in chains(semantics):
        together = chain(values, keys).values
        i = data.draw(st.integers(0, len(values) - 1))
        try:
            alone = chain(values[i : i + 1], keys[i : i + 1]).values
        except SemanticsMismatchError:
            continue  # this row of logits by itself happens to be a probability vector
        assert alone.tobytes() == together[i].tobytes()


@pytest.mark.parametrize("semantics", HARDENED)
@repeatable
@given(data=st.data())
def test_rows_that_are_not_finite_pass_and_the_others_do_not_notice(semantics: Semantics, data: st.DataObject) -> None:
    values = draw_batch(data, semantics, np.dtype(np.float32))
    bad = values[:1].copy()
    bad[0, 0] = data.draw(st.sampled_from([np.nan, -np.inf, np.inf] if semantics in OVER_CLASSES else [np.nan]))
    keys = keys_for(len(values) + 1)
    for chain in chains(semantics):
        hardened = chain(np.concatenate([bad, values]), keys)
        assert hardened.passed == 1
        assert hardened.values[1:].tobytes() == chain(values, keys[1:]).values.tobytes()
        if semantics in OVER_CLASSES:
            assert hardened.values[:1].tobytes() == bad.tobytes()
        else:
            assert np.isnan(hardened.values[0, 0])
            assert np.isfinite(hardened.values[0, 1:]).all()


@pytest.mark.parametrize("semantics", HARDENED)
def test_batch_axes_may_be_many_and_each_position_counts_as_a_row(semantics: Semantics) -> None:
    rng = np.random.default_rng(1)
    flat = rng.dirichlet(np.ones(5), size=12)
    values = (flat if semantics is not Semantics.LOGITS else np.log(flat) * 1.5).reshape(3, 2, 2, 5)
    if semantics in (Semantics.BINARY, Semantics.VALUES):
        values = rng.random((3, 2, 2, 5))
    for chain in chains(semantics):
        hardened = chain(values, keys_for(3)).values
        assert hardened.shape == values.shape
        if semantics in OVER_CLASSES:
            assert_same_class(values, hardened)
        if all(step.kind != "noise" for step in chain.steps):
            flat_rows = chain(values.reshape(12, 5), keys_for(12)).values
            np.testing.assert_array_equal(hardened.reshape(12, 5), flat_rows)


@pytest.mark.parametrize("semantics", HARDENED)
@pytest.mark.parametrize("shape", [(0, 10), (3, 0), (0, 0), (0, 4, 10)])
def test_no_rows_and_no_classes_pass(semantics: Semantics, shape: tuple[int, ...]) -> None:
    values = np.zeros(shape, dtype=np.float32)
    for chain in chains(semantics):
        assert chain(values, keys_for(shape[0])).values is values


@pytest.mark.parametrize("shape", [(), (1,), (7,), (7, 1), (7, 3)])
def test_binary_and_values_have_any_shape(shape: tuple[int, ...]) -> None:
    values = np.random.default_rng(2).random(shape, dtype=np.float32).reshape(shape)
    for semantics in (Semantics.BINARY, Semantics.VALUES):
        for chain in chains(semantics):
            hardened = chain(values, keys_for(shape[0] if shape else 1)).values
            assert (hardened.shape, hardened.dtype) == (values.shape, values.dtype)


@pytest.mark.parametrize("semantics", OVER_CLASSES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_ordinary_rows_need_no_repair(semantics: Semantics, dtype: Any) -> None:
    """The promise holds by construction: repairs are for the last bits only."""
    rng = np.random.default_rng(3)
    rows = rng.dirichlet(np.full(10, 0.5), size=4000)
    ordered = np.sort(rows, axis=1)
    rows = rows[ordered[:, -1] - ordered[:, -2] > 1e-4]
    values = (rows if semantics is Semantics.PROBABILITIES else np.log(rows + 1e-9)).astype(dtype)
    for chain in chains(semantics):
        if any(step.kind == "temperature" for step in chain.steps):
            continue  # at T = 1000 even ordinary rows are level in the last bits
        if any(getattr(step, "beta", 0) == getattr(step, "gamma", 0) == 1.0 for step in chain.steps):
            continue  # the constant map
        assert chain(values, keys_for(len(values))).repaired == 0, chain


def test_memory_layout_does_not_matter() -> None:
    values = np.random.default_rng(4).dirichlet(np.ones(40), size=30).astype(np.float32)
    fortran = np.asfortranarray(values)
    strided = np.repeat(values, 2, axis=1)[:, ::2]
    for chain in chains(Semantics.PROBABILITIES):
        expected = chain(values, keys_for(30)).values.tobytes()
        assert chain(fortran, keys_for(30)).values.tobytes() == expected
        assert chain(strided, keys_for(30)).values.tobytes() == expected
