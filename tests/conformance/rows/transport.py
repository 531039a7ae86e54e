"""What the transport must carry: bytes that are no message, large messages, fields that nobody knows, metadata."""

import re

import grpc
import numpy as np

from tests.conformance.case import CLASSIFY, GET_MODEL_METADATA, GET_MODEL_STATUS, PREDICT, Case, refused
from tests.conformance.messages import X, content, predict
from tests.conformance.replies import predicted, toy

_INTERNAL = grpc.StatusCode.INTERNAL
_UNPARSABLE = re.compile(r"(Exception deserializing request!)?$")
"""gRPC's own text: C++ servers leave it empty, Python ones do not."""

_LARGE = np.zeros((2**20, 4), np.float32)

_CLIENT_ID = b"\x32\x03me!"
_REQUEST_OPTIONS = b"\x3a\x05\x0a\x03me!"
_UNKNOWN_FIELD = b"\xfa\x7f\x05other"

ROWS = (
    *(
        refused(f"garbage to {method.rpartition('/')[2]}", b"\xff\xff\xff", _INTERNAL, _UNPARSABLE, method=method)
        for method in (PREDICT, CLASSIFY, GET_MODEL_METADATA, GET_MODEL_STATUS)
    ),
    refused("a message cut short", predict().SerializeToString()[:-1], _INTERNAL, _UNPARSABLE),
    Case(
        "a request of 16 MB",
        PREDICT,
        predict({"x": content(_LARGE)}, output_filter=["cls"]),
        reply=predicted({"cls": np.zeros(len(_LARGE), np.int64)}),
    ),
    Case(
        "fields beyond the known ones",
        PREDICT,
        predict().SerializeToString(deterministic=True) + _CLIENT_ID + _REQUEST_OPTIONS + _UNKNOWN_FIELD,
        reply=predicted(toy(X)),
    ),
    Case(
        "custom metadata",
        PREDICT,
        predict(),
        reply=predicted(toy(X)),
        metadata=(("x-tag", "a"), ("x-tag", "b"), ("x-blob-bin", b"\x00\xff")),
    ),
)
