"""Recorded calls of a test's choice."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from protos import serving_pb2 as serving
from protos.capture_pb2 import Mark
from proxy.capture.record import RecordedCall, encoded
from proxy.capture.tfrecord import framed
from proxy.identity import Caller
from tests.protection.toy import SERVICE, predict_request, proto

MARK = Mark(technique="extraction", step="block", mode="enforce", subject="caller", profile="0123456789ab")


def caller(name: str = "10.0.0.1", tier: str | None = None) -> Caller:
    return Caller(f"forwarded_for:{name}", "forwarded_for", f"network:{name}.0/24", tier, f"{name}.0/24")


def call(
    time: float = 1000.0,
    rows: Any = ((0.0, 0.0, 0.0, 0.0),),
    who: str = "10.0.0.1",
    marks: Sequence[Mark] = (),
    model: str = "toy",
    share: float = 1.0,
) -> RecordedCall:
    """A Predict call with a reply that says class 0 to each row."""
    values = np.asarray(rows, np.float32)
    request = predict_request(x=values)
    request.model_spec.name = model
    reply = serving.PredictResponse()
    reply.outputs["probs"].CopyFrom(proto(np.tile(np.array([0.8, 0.1, 0.1], np.float32), (len(values), 1))))
    return RecordedCall(
        time,
        0.01,
        SERVICE + "Predict",
        model,
        len(values),
        caller(who),
        marks,
        share,
        request.SerializeToString(),
        reply.SerializeToString(),
    )


def write(path: Path, calls: Iterable[RecordedCall], end: bytes = b"") -> Path:
    """A captured file of these calls."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"".join(framed(encoded(each)) for each in calls) + end)
    return path
