"""No wrong guess goes unnoticed: metadata narrows, numbers prove or contradict, and the rest has to be said."""

from typing import Any

import ml_dtypes
import numpy as np
import pytest

from defenses.output import (
    OutputSpec,
    Semantics,
    SemanticsMismatchError,
    SemanticsUnknownError,
    Unknown,
    check,
    infer,
    resolve,
)

RNG = np.random.default_rng(0)
P, LOGITS, BINARY, VALUES, NEITHER = Semantics


def spec(dtype: str = "float32", shape: tuple[int | None, ...] | None = (None, 10), name: str = "out") -> OutputSpec:
    return OutputSpec(name, dtype, shape, "tensorflow/serving/predict", "serving_default")


def softmax_rows(rows: int = 4, classes: int = 10, dtype: Any = np.float32) -> Any:
    """As a model computes it, in its own type."""
    logits = RNG.normal(size=(rows, classes)).astype(dtype)
    powers = np.exp(logits)
    return (powers / powers.sum(axis=1, keepdims=True)).astype(dtype)


@pytest.mark.parametrize("dtype", ["int64", "int32", "object", "bool", "uint8"])
def test_what_is_no_float_is_neither(dtype: str) -> None:
    assert infer(spec(dtype)) is NEITHER
    assert resolve(spec(dtype), None) is NEITHER
    with pytest.raises(SemanticsMismatchError, match=f"its type is {dtype}, not a float"):
        resolve(spec(dtype), P)


@pytest.mark.parametrize(
    ("shape", "candidates"),
    [
        ((None, 10), (P, LOGITS, BINARY, VALUES, NEITHER)),
        ((None, None), (P, LOGITS, BINARY, VALUES, NEITHER)),
        (None, (P, LOGITS, BINARY, VALUES, NEITHER)),
        ((None, 5, 10), (P, LOGITS, BINARY, VALUES, NEITHER)),
        ((None, 1), (BINARY, VALUES, NEITHER)),
        ((None,), (BINARY, VALUES, NEITHER)),
        ((), (BINARY, VALUES, NEITHER)),
    ],
)
def test_metadata_alone_only_narrows(shape: Any, candidates: tuple[Semantics, ...]) -> None:
    for name in ("probs", "logits", "scores", "out"):  # names prove nothing
        found = infer(spec(shape=shape, name=name))
        assert isinstance(found, Unknown)
        assert found.candidates == candidates


def test_an_unknown_output_is_refused_with_its_name_and_the_remedy() -> None:
    with pytest.raises(SemanticsUnknownError) as caught:
        resolve(spec(name="dense_3"), None)
    assert str(caught.value) == (
        "output 'dense_3': metadata says only float32 (?, 10), so what its numbers mean has to be said; "
        "set outputs.dense_3.semantics: probabilities|logits|binary|values|neither"
    )
    with pytest.raises(SemanticsUnknownError, match=r"float64 of unknown rank.*outputs\.out\.semantics"):
        resolve(spec("float64", None), None)


@pytest.mark.parametrize("classes", [2, 3, 10, 1000])
def test_a_softmax_proves_itself(classes: int) -> None:
    values = softmax_rows(classes=classes)
    assert infer(spec(shape=(None, classes)), values) is P
    assert resolve(spec(), None, values) is P


def test_rows_that_prove_too_little_leave_it_open() -> None:
    one_hot = np.eye(10, dtype=np.float32)
    nan = np.full((2, 10), np.nan, dtype=np.float32)
    assert isinstance(infer(spec(), one_hot), Unknown)
    assert isinstance(infer(spec(), nan), Unknown)
    assert isinstance(infer(spec(), np.zeros((0, 10), np.float32)), Unknown)
    logits = infer(spec(), RNG.normal(size=(4, 10)).astype(np.float32))
    assert isinstance(logits, Unknown)
    assert logits.candidates == (LOGITS, VALUES, NEITHER)
    assert "nor the sample's values prove it" in str(logits)
    sigmoids = infer(spec(), RNG.random((4, 10)).astype(np.float32))
    assert isinstance(sigmoids, Unknown)
    assert sigmoids.candidates == (LOGITS, BINARY, VALUES, NEITHER)


@pytest.mark.parametrize(
    ("configured", "shape"), [(P, (None, 1)), (LOGITS, (None, 1)), (P, (None,)), (LOGITS, (None,)), (P, ())]
)
def test_classes_need_an_axis_of_their_own(configured: Semantics, shape: tuple[int | None, ...]) -> None:
    with pytest.raises(SemanticsMismatchError, match=r"a sigmoid's output is binary\); set outputs\.out\.semantics"):
        resolve(spec(shape=shape), configured)


@pytest.mark.parametrize(
    ("configured", "values", "reason"),
    [
        (P, RNG.normal(size=(3, 10)), r"row 0 (sums to|holds) -?\d"),
        (P, [[0.5, 0.5], [0.9, 0.2]], "row 1 sums to 1.1"),
        (P, [[0.5, 0.5], [-0.1, 1.1]], "row 1 holds -0.1, less than 0"),
        (P, [[0.0, 0.0]], "row 0 sums to 0"),
        (P, [0.5, 0.5], "no axis of classes"),
        (P, [[0.7], [0.2]], "single class"),
        (LOGITS, softmax_rows(), "only probabilities do"),
        (BINARY, softmax_rows(), "only probabilities do"),
        (VALUES, softmax_rows(), "only probabilities do"),
        (LOGITS, [[1.3], [0.2]], "single class"),
        (BINARY, [[1.3], [0.2]], r"1 of its 2 numbers are outside \[0, 1\]"),
        (BINARY, [-0.5, 0.2, 7.0], "2 of its 3 numbers"),
    ],
)
def test_a_reply_that_contradicts_the_configuration_is_told(configured: Semantics, values: Any, reason: str) -> None:
    with pytest.raises(SemanticsMismatchError, match=reason) as caught:
        check(np.asarray(values, dtype=np.float32), configured, "dense_3")
    assert caught.value.output == "dense_3"
    assert caught.value.semantics is configured
    assert f"'dense_3' is configured as {configured}, but" in str(caught.value)
    assert "set outputs.dense_3.semantics to what it is (probabilities, logits, binary" in str(caught.value)


@pytest.mark.parametrize(
    ("configured", "values"),
    [
        (P, softmax_rows()),
        (P, softmax_rows(64, 1000)),
        (P, softmax_rows(dtype=np.float16)),
        (P, softmax_rows().astype(ml_dtypes.bfloat16)),
        (P, np.round(softmax_rows(), 4)),
        (P, np.eye(4)),
        (P, [[np.nan, 0.5], [0.5, 0.5]]),
        (P, [[np.inf, -np.inf]]),
        (P, softmax_rows(12).reshape(2, 3, 2, 10)),
        (LOGITS, RNG.normal(size=(5, 10))),
        (LOGITS, np.eye(3)),
        (LOGITS, np.log(softmax_rows())),
        (BINARY, [0.0, 0.3, 1.0, np.nan]),
        (BINARY, [[0.0, 1.0, 0.0]]),  # saturated sigmoids sum to 1 by nature
        (BINARY, [[0.9999, 0.0001], [0.2, 0.1]]),
        (VALUES, 3.5),
        (VALUES, [[1e9, -3.0]]),
        (NEITHER, softmax_rows()),
    ],
)
def test_a_reply_that_agrees_passes(configured: Semantics, values: Any) -> None:
    array = np.asarray(values)
    check(array if array.dtype.kind in "fV" else array.astype(np.float32), configured, "out")


def test_integers_in_place_of_floats_are_told() -> None:
    with pytest.raises(SemanticsMismatchError, match="its type is int64, not a float"):
        check(np.arange(4), BINARY, "out")
    check(np.arange(4), NEITHER, "out")


def test_a_sample_is_held_against_the_configuration_too() -> None:
    assert resolve(spec(), LOGITS, RNG.normal(size=(2, 10))) is LOGITS
    with pytest.raises(SemanticsMismatchError, match="only probabilities do"):
        resolve(spec(), LOGITS, softmax_rows())
