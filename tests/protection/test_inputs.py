"""Inputs are cleaned before the model sees them, whatever the method and encoding; off and shadow change nothing."""

from typing import Any

import grpc
import numpy as np
import pytest

from protos import serving_pb2 as serving
from protos import tensor_pb2 as tensor
from proxy.tensors import to_array
from tests.protection.conftest import Protect
from tests.protection.toy import (
    X,
    classify,
    example,
    multi,
    predict,
    predict_request,
    proto,
    regress,
    send,
    strings,
)

WHOLE: dict[str, Any] = {"steps": [{"kind": "quantise", "step": 1}]}
ROUNDED = np.rint(X)


def refused(protected: Any, code: grpc.StatusCode, **inputs: Any) -> str:
    with pytest.raises(grpc.RpcError) as caught:
        predict(protected.channel, **inputs)
    assert caught.value.code() is code
    return str(caught.value.details())


def test_every_method_and_encoding(protect: Protect, direct: grpc.Channel) -> None:
    protected = protect({"inputs": {"x": WHOLE}})
    clean = predict(direct, x=ROUNDED)
    for content in (True, False):
        request = predict_request(x=X)
        request.inputs["x"].CopyFrom(proto(X, content))
        reply = serving.PredictResponse.FromString(send(protected.channel, "Predict", request.SerializeToString()))
        np.testing.assert_array_equal(to_array(reply.outputs["logits"]), clean["logits"])
    rows = [example(row) for row in X.tolist()]
    rounded = [example(row) for row in ROUNDED.tolist()]
    assert classify(protected.channel, rows) == classify(direct, rounded) != classify(direct, rows)
    assert regress(protected.channel, rows) == regress(direct, rounded) != regress(direct, rows)
    assert multi(protected.channel, "classify", rows) == multi(direct, "classify", rounded)
    assert multi(protected.channel, "regress", rows) == multi(direct, "regress", rounded)
    assert protected.count("tensorwall_input_rows_total", input="x", outcome="changed") == 12


def test_a_feature_in_the_shared_context_is_cleaned_too(protect: Protect, direct: grpc.Channel) -> None:
    protected = protect({"inputs": {"x": WHOLE}})
    bare = [example([], "other")]
    assert regress(protected.channel, bare, example(X[0].tolist())) == regress(
        direct, bare, example(ROUNDED[0].tolist())
    )


def test_serialized_examples_in_a_predict_input_are_cleaned_too(protect: Protect, direct: grpc.Channel) -> None:
    protected = protect({"inputs": {"x": WHOLE}})
    sent = strings(*(example(row).SerializeToString() for row in X.tolist()))
    rounded = strings(*(example(row).SerializeToString() for row in ROUNDED.tolist()))
    got = predict(protected.channel, "classify", inputs=sent)["scores"]
    np.testing.assert_array_equal(got, predict(direct, "classify", inputs=rounded)["scores"])


def test_a_serialized_example_that_stands_for_many_is_cleaned_or_refused(
    protect: Protect, direct: grpc.Channel
) -> None:
    protected = protect({"inputs": {"x": WHOLE}})

    def scores(channel: grpc.Channel, row: Any, size: int) -> Any:
        request = predict_request("classify")
        request.inputs["inputs"].CopyFrom(proto(strings(example(row.tolist()).SerializeToString()), content=False))
        request.inputs["inputs"].tensor_shape.dim[0].size = size
        reply = send(channel, "Predict", request.SerializeToString())
        return to_array(serving.PredictResponse.FromString(reply).outputs["scores"])

    for size in (1, 50):
        np.testing.assert_array_equal(scores(protected.channel, X[0], size), scores(direct, ROUNDED[0], size))
    with pytest.raises(grpc.RpcError) as caught:
        scores(protected.channel, X[0], 20_000)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert caught.value.details() == (
        "input 'x': the tf.Examples in a tensor cannot be read: 1 values are sent for 20000 elements; send all of them"
    )
    shadow = protect({"inputs": {"x": WHOLE | {"mode": "shadow"}}})
    assert len(scores(shadow.channel, X[0], 20_000)) == 20_000


@pytest.mark.parametrize("rule", [WHOLE | {"mode": "off"}, WHOLE | {"mode": "shadow"}, WHOLE | {"percent": 0}])
def test_off_and_shadow_and_no_share_of_callers_change_nothing(
    protect: Protect, direct: grpc.Channel, rule: dict[str, Any]
) -> None:
    protected = protect({"inputs": {"x": rule}})
    body = predict_request(x=X).SerializeToString()
    reply = serving.PredictResponse.FromString(send(protected.channel, "Predict", body))
    assert reply == serving.PredictResponse.FromString(send(direct, "Predict", body))
    rule_saw = protected.count("tensorwall_input_rows_total", mode="shadow", outcome="changed")
    assert rule_saw == (0 if rule.get("mode") == "off" else 2)


def test_bad_input_gets_a_clear_status(protect: Protect) -> None:
    protected = protect({"inputs": {"x": WHOLE | {"steps": [{"kind": "bit_depth", "bits": 4}], "range": [0, 10]}}})
    invalid = grpc.StatusCode.INVALID_ARGUMENT
    bad = X.copy()
    bad[1, 2] = np.nan
    assert refused(protected, invalid, x=bad) == "input 'x': row 1 holds nan; send finite numbers"
    bad[1, 2] = -np.inf
    assert refused(protected, invalid, x=bad) == "input 'x': row 1 holds -inf; send finite numbers"
    assert refused(protected, invalid, x=strings(b"1")) == "input 'x': it is DT_STRING; the model takes DT_FLOAT"
    assert refused(protected, invalid, x=X.astype(np.float64)) == "input 'x': it is DT_DOUBLE; the model takes DT_FLOAT"
    assert refused(protected, invalid, x=X[:, :2]) == "input 'x': its shape is [2, 2]; the model takes [?, 4]"
    assert predict(protected.channel, x=X[:0])["probs"].shape == (0, 3)
    assert predict(protected.channel, x=X)["probs"].shape == (2, 3)
    assert protected.count("tensorwall_input_refusals_total", mode="enforce") == 5


@pytest.mark.parametrize("sizes", [[1] * 50_000, [-(2**62)] * 50_000])
def test_a_shape_of_any_length_gets_a_short_answer(protect: Protect, sizes: list[int]) -> None:
    request = predict_request(x=X)
    for size in sizes:
        request.inputs["x"].tensor_shape.dim.add(size=size)
    protected = protect({"inputs": {"x": WHOLE}})
    with pytest.raises(grpc.RpcError) as caught:
        send(protected.channel, "Predict", request.SerializeToString())
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert caught.value.details() == "input 'x': its shape is of 50002 dimensions; the model takes [?, 4]"


def test_shadow_refuses_nothing(protect: Protect) -> None:
    protected = protect({"inputs": {"x": WHOLE | {"mode": "shadow", "steps": [{"kind": "range", "high": 1}]}}})
    assert predict(protected.channel, x=X)["probs"].shape == (2, 3)
    assert protected.count("tensorwall_input_refusals_total", mode="shadow") == 1


def test_text(protect: Protect) -> None:
    protected = protect({"inputs": {"s": {"steps": [{"kind": "text", "normalise": "NFKC", "max_chars": 5}]}}})
    sent = strings("ﬁ\u200bn".encode(), b"ok")
    assert predict(protected.channel, "strs", s=sent)["out"].tolist() == [b"<fin>", b"<ok>"]
    text = refused(protected, grpc.StatusCode.INVALID_ARGUMENT, signature="strs", s=strings(b"ok", b"a\xff"))
    assert text == "input 's': row 1: byte 1 is not UTF-8; send text encoded as UTF-8"
    text = refused(protected, grpc.StatusCode.INVALID_ARGUMENT, signature="strs", s=strings(b"longer"))
    assert text == "input 's': row 0: the text has 6 characters; send 0 to 5"


def test_a_request_that_cannot_be_read_is_refused_where_rules_could_be_evaded(protect: Protect) -> None:
    protected = protect({"inputs": {"x": WHOLE}})
    with pytest.raises(grpc.RpcError) as caught:
        send(protected.channel, "Predict", b"\xff\xff")
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    broken = predict_request(x=X)
    broken.inputs["x"].tensor_content = b"short"
    with pytest.raises(grpc.RpcError) as caught:
        send(protected.channel, "Predict", broken.SerializeToString())
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "tensor_content has 5 bytes" in str(caught.value.details())


def test_a_missing_feature_can_be_refused(protect: Protect) -> None:
    protected = protect({"inputs": {"x": WHOLE | {"required": True}}})
    with pytest.raises(grpc.RpcError) as caught:
        regress(protected.channel, [example(X[0].tolist()), example([1.0], "y")])
    assert caught.value.details() == "input 'x': the feature is missing in row 1; send it in every tf.Example"


def test_a_purifier_comes_first(protect: Protect) -> None:
    purifier = {"model": "toy", "signature": "strs", "takes": "s", "gives": "out"}
    protected = protect({"inputs": {"s": {"purifier": purifier}}})
    assert predict(protected.channel, "strs", s=strings(b"a", b"b"))["out"].tolist() == [b"<<a>>", b"<<b>>"]
    assert protected.count("tensorwall_purifier_calls_total", outcome="ok") == 1


@pytest.mark.parametrize(("on_failure", "outcome"), [("refuse", "refused"), ("pass", "passed")])
def test_a_purifier_that_fails(protect: Protect, on_failure: str, outcome: str) -> None:
    purifier = {"model": "gone", "takes": "s", "gives": "out", "on_failure": on_failure}
    protected = protect({"inputs": {"s": {"purifier": purifier}}})
    if on_failure == "refuse":
        text = refused(protected, grpc.StatusCode.UNAVAILABLE, signature="strs", s=strings(b"a"))
        assert text == "the request cannot be cleaned at present; try again later"
    else:
        assert predict(protected.channel, "strs", s=strings(b"a"))["out"].tolist() == [b"<a>"]
    assert protected.count("tensorwall_purifier_calls_total", outcome=outcome) == 1


def test_ones_own_defense_by_import_path(protect: Protect, direct: grpc.Channel) -> None:
    step = {"kind": "import", "path": "tests.defenses.examples:Threshold", "settings": {"lowest": 1.0}}
    protected = protect({"inputs": {"x": {"steps": [step]}}})
    kept = np.where(X < 1, 0, X).astype(np.float32)
    np.testing.assert_array_equal(predict(protected.channel, x=X)["logits"], predict(direct, x=kept)["logits"])
    text = refused(protected, grpc.StatusCode.INVALID_ARGUMENT, x=X * 0)
    assert text == "input 'x': row 0 is empty; send larger values"


def test_rules_that_do_not_fit_the_model_are_said(protect: Protect) -> None:
    protected = protect({"inputs": {"y": WHOLE}, "squeezing": None})
    said = "signature 'serving_default' takes 'x', for which there is no rule under inputs"
    protected.proxy.process.wait_until(lambda: said in protected.proxy.process.log(), "said")
    assert protected.count("tensorwall_protection_problems", model="toy") > 0


def test_dtypes_without_numbers_are_refused(protect: Protect) -> None:
    protected = protect({"inputs": {"x": WHOLE}})
    request = predict_request(version=1, x=X)  # a named version: its signature is not held against the request
    request.inputs["x"].CopyFrom(tensor.TensorProto(dtype=tensor.DT_BOOL, bool_val=[True]))
    with pytest.raises(grpc.RpcError) as caught:
        send(protected.channel, "Predict", request.SerializeToString())
    assert "quantise takes numbers, not booleans" in str(caught.value.details())


def test_rows_of_nothing_cost_nothing(protect: Protect, direct: grpc.Channel) -> None:
    noise = {"semantics": "probabilities", "steps": [{"kind": "noise", "epsilon": 0.1}]}
    squeezing = {"input": "x", "output": "probs", "threshold": 1, "copies": [[{"kind": "quantise", "step": 1}]]}
    protected = protect({"inputs": {"x": WHOLE}, "outputs": {"probs": noise}, "squeezing": squeezing})
    request = predict_request(version=1, x=X)
    empty = tensor.TensorProto(dtype=tensor.DT_FLOAT)
    for size in (2**40, 0):
        empty.tensor_shape.dim.add(size=size)
    request.inputs["x"].CopyFrom(empty)
    answers = []
    for channel in (direct, protected.channel):
        with pytest.raises(grpc.RpcError) as caught:
            send(channel, "Predict", request.SerializeToString())
        answers.append((caught.value.code(), caught.value.details()))
    assert answers[0] == answers[1], "the model's own refusal"
    assert predict(protected.channel, x=X)["probs"].shape == (2, 3)


def test_a_defense_that_breaks_in_shadow_harms_nobody(protect: Protect, direct: grpc.Channel) -> None:
    path = "tests.defenses.broken:Broken"
    inputs = {"x": {"mode": "shadow", "steps": [{"kind": "import", "path": path}]}}
    outputs = {"probs": {"mode": "shadow", "semantics": "probabilities", "steps": [{"kind": "import", "path": path}]}}
    protected = protect({"inputs": inputs, "outputs": outputs})
    np.testing.assert_array_equal(predict(protected.channel, x=X)["probs"], predict(direct, x=X)["probs"])
    assert "failed in shadow" in protected.proxy.process.log()
