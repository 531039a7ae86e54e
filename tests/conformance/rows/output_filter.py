"""Predict: output_filter."""

import grpc

from tests.conformance.case import PREDICT, Case, refused
from tests.conformance.messages import X, predict
from tests.conformance.replies import predicted, toy

_INVALID = grpc.StatusCode.INVALID_ARGUMENT
_UNKNOWN = "output tensor alias not found in signature: {} Outputs expected to be in the set {{cls,logits,probs}}."

ROWS = (
    Case(
        "output_filter: one output",
        PREDICT,
        predict(output_filter=["logits"]),
        reply=predicted({"logits": toy(X)["logits"]}),
    ),
    Case(
        "output_filter: two outputs",
        PREDICT,
        predict(output_filter=["probs", "cls"]),
        reply=predicted({name: toy(X)[name] for name in ("probs", "cls")}),
    ),
    Case(
        "output_filter: all",
        PREDICT,
        predict(output_filter=["cls", "logits", "probs"]),
        reply=predicted(toy(X)),
    ),
    *(
        refused(f"output_filter: {name}", predict(output_filter=outputs), _INVALID, _UNKNOWN.format(outputs[-1]))
        for name, outputs in {
            "unknown": ["nope"],
            "good and unknown": ["logits", "nope"],
            "empty name": [""],
            "raw tensor name": ["StatefulPartitionedCall:0"],
        }.items()
    ),
    refused(
        "output_filter: one output twice",
        predict(output_filter=["logits", "logits"]),
        _INVALID,
        "duplicate output tensor alias: logits",
    ),
)
