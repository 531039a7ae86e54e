"""Squeezed copies ride in the same call, are scored, and never reach the caller."""

from typing import Any

import grpc
import numpy as np
import pytest

from protos import serving_pb2 as serving
from protos import tensor_pb2 as tensor
from tests.calls import call
from tests.conformance.case import PREDICT
from tests.protection.conftest import Protect
from tests.protection.toy import X, classify, example, predict, strings

COPIES = [[{"kind": "quantise", "step": 1}], [{"kind": "quantise", "step": 2}]]


def rule(**more: Any) -> dict[str, Any]:
    return {"input": "x", "output": "probs", "threshold": 2.0, "copies": COPIES, "mode": "enforce", **more}


def test_the_caller_sees_its_own_rows_only(protect: Protect, direct: grpc.Channel) -> None:
    protected = protect({"squeezing": rule()})
    mine, plain = predict(protected.channel, x=X), predict(direct, x=X)
    assert mine.keys() == plain.keys()
    for name, values in plain.items():
        np.testing.assert_allclose(mine[name], values, rtol=1e-6)
    assert protected.count("tensorwall_squeezing_disagreement_count", model="toy") == 2
    assert protected.count("tensorwall_squeezing_rows_total", outcome="within") == 2


def test_examples_are_squeezed_too(protect: Protect, direct: grpc.Channel) -> None:
    protected = protect({"squeezing": rule(output="scores")})
    rows = [example(row) for row in X.tolist()]
    np.testing.assert_allclose(classify(protected.channel, rows), classify(direct, rows), rtol=1e-6)
    assert protected.count("tensorwall_squeezing_disagreement_count", model="toy") == 2


@pytest.mark.parametrize("mode", ["enforce", "shadow"])
def test_rows_that_move_too_far(protect: Protect, mode: str) -> None:
    protected = protect({"squeezing": rule(threshold=1e-6, mode=mode)})
    whole = np.array([[2.0, 4.0, 6.0, 8.0]], dtype=np.float32)
    assert predict(protected.channel, x=whole)["probs"].shape == (1, 3)
    if mode == "shadow":
        assert predict(protected.channel, x=X)["probs"].shape == (2, 3)
    else:
        with pytest.raises(grpc.RpcError) as caught:
            predict(protected.channel, x=np.concatenate([whole, X]))
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert caught.value.details() == "the model's protection does not accept rows 1, 2 of the request"
    assert protected.count("tensorwall_squeezing_rows_total", mode=mode, outcome="above") == 2


def test_calls_without_the_input_and_errors_pass(protect: Protect, direct: grpc.Channel) -> None:
    protected = protect({"squeezing": rule()})
    assert predict(protected.channel, "strs", s=strings(b"a"))["out"].tolist() == [b"<a>"]
    with pytest.raises(grpc.RpcError) as through:
        predict(protected.channel, x=X[:, :2])
    with pytest.raises(grpc.RpcError) as plain:
        predict(direct, x=X[:, :2])
    assert (through.value.code(), through.value.details()) == (plain.value.code(), plain.value.details())


@pytest.mark.parametrize("shape", [(-1, 4), (2**30, -1), (2**26,), (2**40, 0)], ids=str)
def test_shapes_that_claim_rows_without_values(protect: Protect, direct: grpc.Channel, shape: tuple[int, ...]) -> None:
    """Seeds are drawn for rows that there are: of those that a few bytes claim they would take gigabytes."""
    protected = protect({"squeezing": rule()})
    request = serving.PredictRequest(model_spec=serving.ModelSpec(name="toy"))
    request.inputs["x"].dtype = tensor.DT_INT8
    for size in shape:
        request.inputs["x"].tensor_shape.dim.add(size=size)
    body = request.SerializeToString()
    through, plain = (call(channel, PREDICT, body) for channel in (protected.channel, direct))
    assert (through.code, through.details) == (plain.code, plain.details)
    assert through.code is grpc.StatusCode.INVALID_ARGUMENT


def test_squeezing_and_answers_together(protect: Protect) -> None:
    outputs = {
        "probs": {"semantics": "probabilities", "steps": [{"kind": "label_only"}, {"kind": "noise", "epsilon": 1}]}
    }
    protected = protect({"squeezing": rule(), "outputs": outputs, "inputs": {"x": {"steps": COPIES[0]}}})
    assert predict(protected.channel, x=X)["probs"].argmax(axis=1).tolist() == [2, 2]
