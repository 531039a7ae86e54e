"""Answers are hardened for each method, for the right caller, and never on a wrong guess of what they mean."""

from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from tests.protection.conftest import Protect
from tests.protection.toy import X, classify, example, multi, predict, regress

LABEL: dict[str, Any] = {"semantics": "probabilities", "steps": [{"kind": "label_only"}]}
NOISE: dict[str, Any] = {"semantics": "probabilities", "steps": [{"kind": "noise", "epsilon": 0.3}]}


def probs(channel: grpc.Channel, x: Any = X) -> Any:
    return predict(channel, x=x)["probs"]


def test_every_method(protect: Protect, direct: grpc.Channel) -> None:
    outputs = {
        "probs": LABEL,
        "scores": LABEL,
        "outputs": {"semantics": "values", "steps": [{"kind": "round", "decimals": 0}]},
    }
    protected = protect({"outputs": outputs})
    answer = predict(protected.channel, x=X)
    np.testing.assert_array_equal(answer["probs"], [[0, 0, 1], [0, 0, 1]])
    np.testing.assert_array_equal(answer["logits"], predict(direct, x=X)["logits"])
    rows = [example(row) for row in X.tolist()]
    assert classify(protected.channel, rows) == [[0, 0, 1], [0, 0, 1]]
    assert regress(protected.channel, rows) == [round(value) for value in regress(direct, rows)]
    classified = multi(protected.channel, "classify", rows).classification_result.classifications
    assert [each.score for each in classified[0].classes] == [0, 0, 1]
    regressed = multi(protected.channel, "regress", rows).regression_result.regressions
    assert [row.value for row in regressed] == [round(value) for value in regress(direct, rows)]
    assert classify(protected.channel, rows[:1]) == [[0, 0, 1]]
    assert predict(protected.channel, x=X[:0])["probs"].shape == (0, 3)


def test_shadow_counts_and_changes_nothing(protect: Protect, direct: grpc.Channel) -> None:
    protected = protect({"outputs": {"probs": LABEL | {"mode": "shadow"}}})
    np.testing.assert_array_equal(probs(protected.channel), probs(direct))
    assert protected.count("tensorwall_answer_rows_total", mode="shadow", outcome="changed") == 2


def test_noise_belongs_to_the_row_and_the_secret(protect: Protect, direct: grpc.Channel) -> None:
    one = protect({"outputs": {"probs": NOISE}}, secret="0123456789abcdef")
    replica = protect({"outputs": {"probs": NOISE}}, secret="0123456789abcdef")
    other = protect({"outputs": {"probs": NOISE}})
    first = probs(one.channel)
    assert np.abs(first - probs(direct)).max() > 1e-4
    np.testing.assert_array_equal(first, probs(one.channel), "repeats teach nothing")
    np.testing.assert_allclose(probs(one.channel, X[1:]), first[1:], rtol=1e-5)  # nor do other batches
    np.testing.assert_array_equal(first, probs(replica.channel), "nor replicas")
    assert (first != probs(other.channel)).any()
    assert (first.argmax(axis=1) == probs(direct).argmax(axis=1)).all()


def test_features_that_the_model_ignores_buy_no_other_noise(protect: Protect) -> None:
    protected = protect({"outputs": {"scores": NOISE | {"key_inputs": ["x"]}}})
    row = X[0].tolist()
    assert classify(protected.channel, [example(row)]) == classify(protected.channel, [example(row, ignored=1.0)])


@pytest.mark.parametrize("on_mismatch", ["withhold", "pass"])
def test_numbers_that_are_not_what_is_configured(protect: Protect, direct: grpc.Channel, on_mismatch: str) -> None:
    protected = protect({"outputs": {"logits": LABEL | {"on_mismatch": on_mismatch}}})
    if on_mismatch == "withhold":
        with pytest.raises(grpc.RpcError) as caught:
            predict(protected.channel, x=X)
        assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION
        assert "row" not in str(caught.value.details())
    else:
        np.testing.assert_array_equal(predict(protected.channel, x=X)["logits"], predict(direct, x=X)["logits"])
    assert "is configured as probabilities" in protected.proxy.process.log()
    assert protected.count("tensorwall_answer_mismatches_total", output="logits") == 1


def test_a_meaning_that_is_not_configured_is_proved_or_the_answer_withheld(protect: Protect) -> None:
    steps = {"steps": [{"kind": "label_only"}]}
    proved = protect({"outputs": {"probs": steps, "cls": steps}})
    np.testing.assert_array_equal(probs(proved.channel), [[0, 0, 1], [0, 0, 1]])
    unknown = protect({"outputs": {"logits": steps}})
    with pytest.raises(grpc.RpcError) as caught:
        predict(unknown.channel, x=X)
    assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert "set outputs.logits.semantics" in unknown.proxy.process.log()


def test_tiers_and_ladder_steps(protect: Protect, direct: grpc.Channel, tmp_path: Path) -> None:
    caller = "peer:127.0.0.1"
    top = {"semantics": "probabilities", "steps": [{"kind": "round", "decimals": 1}]}
    rules = {"outputs": {"probs": top}, "ladder": {"coarsen": {"outputs": {"probs": LABEL}}}}
    plain = protect(rules)
    np.testing.assert_allclose(probs(plain.channel), np.round(probs(direct), 1), atol=1e-6)
    for step in ("coarsen", "throttle"):
        stepped = protect(rules, callers={caller: step})
        np.testing.assert_array_equal(probs(stepped.channel), [[0, 0, 1], [0, 0, 1]])


def test_ones_own_defense_by_import_path(protect: Protect, direct: grpc.Channel) -> None:
    step = {"kind": "import", "path": "tests.defenses.examples:Flatten", "settings": {"share": 0.5}}
    protected = protect({"outputs": {"probs": {"semantics": "probabilities", "steps": [step]}}})
    np.testing.assert_allclose(probs(protected.channel), probs(direct) / 2 + 1 / 6, rtol=1e-6)
