"""One row of the contract: what is sent, and what a TensorFlow Serving answers."""

import re
from collections.abc import Callable
from dataclasses import dataclass

import grpc
from google.protobuf.message import Message

from tests.calls import Answer, Metadata, call
from tests.conformance.wire import up_to_map_order

PREDICT = "/tensorflow.serving.PredictionService/Predict"
CLASSIFY = "/tensorflow.serving.PredictionService/Classify"
REGRESS = "/tensorflow.serving.PredictionService/Regress"
MULTI_INFERENCE = "/tensorflow.serving.PredictionService/MultiInference"
GET_MODEL_METADATA = "/tensorflow.serving.PredictionService/GetModelMetadata"
GET_MODEL_STATUS = "/tensorflow.serving.ModelService/GetModelStatus"


@dataclass(frozen=True)
class Case:
    """A request and the answer that it must get.

    Attributes:
        name: of the row; no two have the same.
        method: full name, as on the wire.
        request: a message, or its bytes.
        code: of the status.
        details: of the status: the exact text, a pattern that it must begin with where the text names nodes of the
            graph or differs between builds, or None where only the comparison with another server can judge.
        reply: asserts what the bytes of a good reply must hold; given if and only if `code` is OK.
        metadata: of the request.
        timeout: of the call, in seconds.
        flag: the row holds only for a server that was started with this flag.
    """

    name: str
    method: str
    request: Message | bytes
    code: grpc.StatusCode = grpc.StatusCode.OK
    details: str | re.Pattern[str] | None = ""
    reply: Callable[[bytes], None] | None = None
    metadata: Metadata = ()
    timeout: float = 20.0
    flag: str = ""

    def __post_init__(self) -> None:
        assert (self.code is grpc.StatusCode.OK) == (self.reply is not None), f"{self.name}: a reply is for good calls"

    @property
    def body(self) -> bytes:
        """What is sent. Map entries are sorted, so that every server sees the same bytes."""
        if isinstance(self.request, bytes):
            return self.request
        return self.request.SerializeToString(deterministic=True)


def refused(
    name: str,
    request: Message | bytes,
    code: grpc.StatusCode,
    details: str | re.Pattern[str] | None,
    *,
    method: str = PREDICT,
    flag: str = "",
) -> Case:
    """A row whose answer is an error."""
    return Case(name, method, request, code, details, flag=flag)


def ask(channel: grpc.Channel, case: Case) -> Answer:
    """Sends a row's request and takes whatever comes back."""
    return call(channel, case.method, case.body, metadata=case.metadata, timeout=case.timeout)


def check(case: Case, answer: Answer) -> None:
    """Asserts that the answer is the one that the row names. Metadata were empty on every observed call."""
    assert answer.code is case.code, f"{answer.code.name}: {answer.details}"
    if isinstance(case.details, re.Pattern):
        assert case.details.match(answer.details), f"{answer.details!r} does not begin with {case.details.pattern!r}"
    elif case.details is not None:
        assert answer.details == case.details
    assert (answer.initial, answer.trailing) == ((), ())
    if case.reply is not None:
        case.reply(answer.body)


def compare(case: Case, answer: Answer, expected: Answer, *, any_map_order: bool) -> None:
    """Asserts that two servers answered alike: code, details, both metadata, and the reply byte by byte.

    With `any_map_order` the entries of the reply's maps may stand in another order, as between two server processes;
    every other byte must still be the same.
    """
    assert answer.code is expected.code, f"{answer.code.name}: {answer.details}"
    assert answer.details == expected.details
    assert answer.initial == expected.initial
    assert answer.trailing == expected.trailing
    if any_map_order:
        assert up_to_map_order(case.method, answer.body) == up_to_map_order(case.method, expected.body)
    else:
        assert answer.body == expected.body
