"""The message: as TensorFlow Serving's own code reads it, and what only we read."""

from typing import Any

import pytest
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st

from protos import prediction_log_pb2 as ours
from proxy.capture.record import RecordedCall, decoded, encoded
from proxy.identity import Caller
from tests.capture.made import MARK, call
from tests.protection.toy import SERVICE

LOGS = {
    "Predict": "predict_log",
    "Classify": "classify_log",
    "Regress": "regress_log",
    "MultiInference": "multi_inference_log",
}


@given(st.floats(0, 1e10), st.text(max_size=20), st.integers(0, 2**40), st.sampled_from(sorted(LOGS)))
def test_nothing_is_lost(time: float, name: str, rows: int, method: str) -> None:
    caller = Caller(f"peer:{name}", "peer", "network:n", None, "n")
    made = RecordedCall(time, 0.5, SERVICE + method, name, rows, caller, (MARK,), 0.25, b"", b"")
    assert decoded(encoded(made)) == made


@pytest.mark.parametrize(("method", "log"), LOGS.items())
def test_stock_messages_read_it(method: str, log: str) -> None:
    from tensorflow_serving.apis import classification_pb2, inference_pb2, prediction_log_pb2, regression_pb2

    made = call(marks=[MARK], share=0.5)
    spec: dict[str, Any] = {"model_spec": {"name": "toy"}}
    body = {
        "Predict": made.body,
        "Classify": classification_pb2.ClassificationRequest(**spec).SerializeToString(),
        "Regress": regression_pb2.RegressionRequest(**spec).SerializeToString(),
        "MultiInference": inference_pb2.MultiInferenceRequest(tasks=[spec]).SerializeToString(),
    }[method]
    payload = encoded(
        RecordedCall(made.time, 0, SERVICE + method, "toy", 1, made.caller, made.marks, 0.5, body, made.reply)
        if method == "Predict"
        else RecordedCall(made.time, 0, SERVICE + method, "toy", 1, made.caller, made.marks, 0.5, body, b"")
    )
    read = prediction_log_pb2.PredictionLog.FromString(payload)
    assert read.WhichOneof("log_type") == log
    assert getattr(read, log).request.SerializeToString() == body
    assert read.log_metadata.model_spec.name == "toy"
    assert read.log_metadata.sampling_config.sampling_rate == 0.5
    if method == "Predict":
        assert read.predict_log.response.outputs["probs"].tensor_shape.dim[1].size == 3
    # Passed on by a stock reader, it is still whole for us.
    again = decoded(read.SerializeToString())
    assert again is not None
    assert (again.caller, again.marks[0]) == (made.caller, MARK)


def test_what_others_wrote_is_told_apart() -> None:
    log = ours.PredictionLog()
    log.predict_log.request.model_spec.name = "toy"
    assert decoded(log.SerializeToString()) is None
    with pytest.raises(DecodeError):
        decoded(b"\xff\xff")
