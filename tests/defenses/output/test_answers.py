"""A chain on its own: off is nothing, faults cost the caller detail, and mistakes are named."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pytest
from pydantic import TypeAdapter, ValidationError

from defenses.output import (
    AnswerDefense,
    Chain,
    LabelOnly,
    Noise,
    OutputDefense,
    ReverseSigmoid,
    Round,
    Scores,
    Semantics,
    SemanticsMismatchError,
    Temperature,
    TopK,
    harden_lists,
)
from defenses.output.scores import Rows
from tests.defenses.output.rows import keys_for

P, LOGITS, BINARY, VALUES, NEITHER = Semantics
ROWS = np.array([[0.2, 0.5, 0.3], [0.1, 0.1, 0.8]], dtype=np.float32)


@dataclass(frozen=True)
class Shrink:
    """As a user's own defense may look: a third of the way to the uniform row."""

    share: float = 1 / 3

    kind: ClassVar[str] = "shrink"
    preserves_argmax: ClassVar[bool] = True
    applies_to: ClassVar[frozenset[Semantics]] = frozenset({Semantics.PROBABILITIES})

    def __call__(self, scores: Scores) -> Rows:
        mixed: Rows = scores.values * (1 - self.share) + self.share / scores.values.shape[1]
        return mixed


@dataclass(frozen=True)
class Broken:
    """Returns what it was told to, whatever the row."""

    row: tuple[float, ...]

    kind: ClassVar[str] = "broken"
    preserves_argmax: bool = True
    applies_to: ClassVar[frozenset[Semantics]] = frozenset(Semantics)

    def __call__(self, scores: Scores) -> Rows:
        return np.array([self.row] * len(scores.values))


def harden(step: AnswerDefense, values: Any, semantics: Semantics = P) -> Any:
    array = np.asarray(values, dtype=np.float32)
    return Chain("out", semantics, (step,))(array, keys_for(len(array)))


def test_no_steps_cost_nothing_and_change_nothing() -> None:
    strange = np.array([[7.0, -3.0]])
    assert Chain("out", P, ())(strange, keys_for(0)).values is strange


def test_a_users_own_step_needs_no_base_class() -> None:
    hardened = harden(Shrink(), ROWS)
    np.testing.assert_allclose(hardened.values, ROWS * 2 / 3 + 1 / 9, rtol=1e-6)
    assert hardened.values.dtype == np.float32
    assert hardened.repaired == 0


def test_steps_cannot_write_into_their_rows() -> None:
    class Vandal(Shrink):
        def __call__(self, scores: Scores) -> Rows:
            scores.values[0, 0] = 1.0
            return scores.values

    with pytest.raises(ValueError, match="read-only"):
        harden(Vandal(), ROWS)


@pytest.mark.parametrize("row", [(np.nan, 0.5, 0.5), (0.0, 0.0, 0.0), (0.9, 0.2, 0.1), (-0.2, 0.6, 0.6)])
def test_a_faulty_step_ends_as_the_predicted_class_only(row: tuple[float, ...]) -> None:
    hardened = harden(Broken(row), ROWS)
    assert hardened.values.tolist() == [[0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]
    assert hardened.repaired == 2


def test_a_step_that_breaks_its_promise_is_put_right() -> None:
    hardened = harden(Broken((0.4, 0.4, 0.2)), ROWS)  # level with the winner in the first row, above it in the second
    assert hardened.values.argmax(axis=1).tolist() == [1, 2]
    np.testing.assert_allclose(hardened.values[0], [0.4, 0.4, 0.2], rtol=1e-6)
    assert hardened.values[1].tolist() == [0.0, 0.0, 1.0]  # nothing near it is a distribution
    assert hardened.repaired == 2


def test_a_step_without_the_promise_may_change_the_class_but_not_break_the_row() -> None:
    assert not Chain("out", P, (Broken((0.0, 0.0, 1.0), preserves_argmax=False), LabelOnly())).preserves_argmax
    assert harden(Broken((1.0, 0.0, 0.0), preserves_argmax=False), ROWS).values.argmax(axis=1).tolist() == [0, 0]
    broken = harden(Broken((np.inf, 0.0, 0.0), preserves_argmax=False), ROWS)
    assert broken.values.tolist() == [[0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]


@pytest.mark.parametrize(
    ("semantics", "values", "row", "expected"),
    [
        (BINARY, [[0.2], [0.9]], (np.nan,), [[0.0], [1.0]]),
        (BINARY, [[0.2], [0.9]], (7.0,), [[0.0], [1.0]]),
        (VALUES, [[3.5], [-1.0]], (np.inf,), [[3.5], [-1.0]]),
        (LOGITS, [[3.0, 1.0]], (np.nan, 0.0), [[20.0, 0.0]]),
    ],
)
def test_faults_of_other_meanings(semantics: Semantics, values: Any, row: tuple[float, ...], expected: Any) -> None:
    assert harden(Broken(row), values, semantics).values.tolist() == expected


def test_a_step_of_the_wrong_shape_is_named() -> None:
    with pytest.raises(ValueError, match=r"output 'out': Broken\(.*returned the shape \(2, 1\), not \(2, 3\)"):
        harden(Broken((1.0,)), ROWS)


def test_a_reply_that_means_something_else_is_not_touched() -> None:
    with pytest.raises(SemanticsMismatchError, match="'out' is configured as logits, but every row"):
        harden(Round(decimals=1), ROWS, LOGITS)
    with pytest.raises(SemanticsMismatchError, match="its type is int64"):
        Chain("cls", VALUES, (Round(decimals=1),))(np.arange(3), keys_for(3))


@pytest.mark.parametrize("keys", [keys_for(1), keys_for(3), keys_for(4).reshape(2, 2)])
def test_keys_that_do_not_fit_are_a_mistake(keys: Any) -> None:
    with pytest.raises(ValueError, match=r"the output has 2 rows and needs \(2,\)"):
        Chain("out", P, (LabelOnly(),))(ROWS, keys)


@pytest.mark.parametrize(
    ("step", "semantics", "words"),
    [
        (TopK(k=2), BINARY, "does not apply to binary, only to logits, probabilities"),
        (Noise(epsilon=0.1), VALUES, "does not apply to values, only to binary, logits, probabilities"),
        (Round(significant=2), P, "significant=2) does not apply to probabilities, only to logits, values"),
        (LabelOnly(), NEITHER, "does not apply to neither"),
        (Round(decimals=2), NEITHER, "remove it, or correct outputs.out.semantics"),
    ],
)
def test_a_step_that_makes_no_sense_is_refused_before_any_reply(
    step: AnswerDefense, semantics: Semantics, words: str
) -> None:
    with pytest.raises(ValueError, match="output 'out'") as caught:
        Chain("out", semantics, (step,))
    assert words in str(caught.value)


@pytest.mark.parametrize("threshold", [0.0, 1.0, -1.0, float("nan")])
def test_a_threshold_is_between_zero_and_one(threshold: float) -> None:
    with pytest.raises(ValueError, match=r"threshold is .*; it has to be between 0 and 1"):
        Chain("out", BINARY, (LabelOnly(),), threshold)


def test_lists_keep_every_class_in_its_place() -> None:
    chain = Chain("scores", P, (TopK(k=2),))
    rows = [[0.2, 0.5, 0.3], [0.25, 0.75], [], [0.1, 0.1, 0.8]]
    hardened = harden_lists(chain, rows, keys_for(4))
    expected = [[0.0, 0.625, 0.375], [0.25, 0.75], [], [1 / 9, 0.0, 8 / 9]]
    for row, want in zip(hardened, expected, strict=True):
        assert row == pytest.approx(want)
    assert harden_lists(chain, [], keys_for(0)) == []


def test_a_list_gets_the_noise_of_its_own_row() -> None:
    chain = Chain("scores", P, (Noise(epsilon=0.2),))
    rows = [[0.2, 0.5, 0.3], [0.25, 0.75], [0.1, 0.1, 0.8]]
    keys = keys_for(3)
    together = harden_lists(chain, rows, keys)
    for i in range(3):
        assert harden_lists(chain, [rows[i]], keys[i : i + 1]) == [together[i]]


DEFENSE: TypeAdapter[Any] = TypeAdapter(OutputDefense)


@pytest.mark.parametrize(
    ("settings", "step"),
    [
        ({"kind": "round", "decimals": 2}, Round(decimals=2)),
        ({"kind": "round", "significant": 3}, Round(significant=3)),
        ({"kind": "top_k", "k": 3, "rest": "uniform"}, TopK(k=3, rest="uniform")),
        ({"kind": "label_only"}, LabelOnly()),
        ({"kind": "temperature", "temperature": 2}, Temperature(temperature=2.0)),
        ({"kind": "noise", "epsilon": 0.1, "norm": "linf"}, Noise(epsilon=0.1, norm="linf")),
        ({"kind": "reverse_sigmoid"}, ReverseSigmoid(beta=1.0, gamma=0.2)),
    ],
)
def test_each_kind_is_configurable_by_name(settings: dict[str, Any], step: AnswerDefense) -> None:
    assert DEFENSE.validate_python(settings) == step


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"kind": "round"}, "round needs either decimals (0 to 6) or significant digits (1 to 9); set exactly one"),
        ({"kind": "round", "decimals": 2, "significant": 2}, "set exactly one"),
        ({"kind": "round", "decimals": 7}, "less than or equal to 6"),
        ({"kind": "round", "digits": 2}, "round.digits\n  Extra inputs are not permitted"),
        ({"kind": "top_k", "k": 0}, "greater than or equal to 1"),
        ({"kind": "top_k", "k": 1, "rest": "mean"}, "'zero' or 'uniform'"),
        ({"kind": "temperature", "temperature": 0}, "greater than 0"),
        ({"kind": "temperature", "temperature": float("inf")}, "finite number"),
        ({"kind": "noise", "epsilon": -0.1}, "greater than 0"),
        ({"kind": "noise", "epsilon": 0.1, "norm": "l2"}, "'l1' or 'linf'"),
        ({"kind": "reverse_sigmoid", "beta": 1.5}, "less than or equal to 1"),
        ({"kind": "reverse_sigmoid", "gamma": float("nan")}, "gamma"),
        ({"kind": "rounding"}, "'round', 'top_k', 'label_only', 'temperature', 'noise', 'reverse_sigmoid'"),
        ({}, "kind"),
    ],
)
def test_wrong_settings_are_told(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError) as caught:
        DEFENSE.validate_python(settings)
    assert words in str(caught.value)


def test_settings_are_frozen() -> None:
    step: Any = Round(decimals=2)
    with pytest.raises(ValidationError, match="frozen"):
        step.decimals = 3
