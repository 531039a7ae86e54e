"""One recorded call, and its form as a PredictionLog.

Request and reply are put into the message as the bytes that they were: a message inside a message is its bytes with
their length, so that nothing is parsed and nothing gets lost.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast, get_args

from google.protobuf.message import DecodeError

from protos.capture_pb2 import Mark, Recorded
from protos.prediction_log_pb2 import LogMetadata, PredictionLog, SamplingConfig
from protos.serving_pb2 import ModelSpec
from proxy.config.schema import Source
from proxy.identity import Caller

_PREDICTION = "/tensorflow.serving.PredictionService/"
_LOGS = {
    _PREDICTION + "Predict": "predict_log",
    _PREDICTION + "Classify": "classify_log",
    _PREDICTION + "Regress": "regress_log",
    _PREDICTION + "MultiInference": "multi_inference_log",
}
_PATHS = {log: path for path, log in _LOGS.items()}
LATEST = 253_402_300_800.0
"""The end of the year 9999, which is where `datetime` ends too."""
_REQUEST, _RESPONSE = 1, 2
_LENGTH_DELIMITED = 2


@dataclass(frozen=True, slots=True)
class RecordedCall:
    """An answered call.

    Attributes:
        time: when it came, seconds since 1970.
        seconds: until it was answered.
        path: full method name.
        model: as asked for.
        rows: examples in it.
        caller: who was charged; of its address, the network is kept.
        marks: verdicts that stood against the caller or its groups.
        share: of calls that were captured.
        body: the request as the caller sent it.
        reply: the model's own answer, before anything was done to it.
    """

    time: float
    seconds: float
    path: str
    model: str
    rows: int
    caller: Caller
    marks: Sequence[Mark]
    share: float
    body: bytes
    reply: bytes


def encoded(call: RecordedCall) -> bytes:
    """As a PredictionLog."""
    caller = call.caller
    head = PredictionLog(
        log_metadata=LogMetadata(
            model_spec=ModelSpec(name=call.model),
            sampling_config=SamplingConfig(sampling_rate=call.share),
            timestamp_secs=int(call.time),
        ),
        recorded=Recorded(
            time=call.time,
            seconds=call.seconds,
            caller=caller.id,
            source=caller.source,
            group=caller.group,
            tier=caller.tier or "",
            network=caller.address,
            rows=call.rows,
            marks=call.marks,
        ),
    )
    number = PredictionLog.DESCRIPTOR.fields_by_name[_LOGS[call.path]].number
    exchange = _field(_REQUEST, call.body) + _field(_RESPONSE, call.reply)
    return head.SerializeToString() + _field(number, exchange)


def decoded(payload: bytes) -> RecordedCall | None:
    """A recorded call; None for what tensorwall did not record, which says neither when it came nor from whom.

    Raises:
        DecodeError: it is no PredictionLog, or tells of what cannot have been.
    """
    log = PredictionLog.FromString(payload)
    kind = log.WhichOneof("log_type")
    recorded = log.recorded
    if kind is None or not log.HasField("recorded"):
        return None
    if recorded.source not in get_args(Source):
        raise DecodeError(f"a caller named by {recorded.source!r:.40} is unknown to this version")
    if not (0 <= recorded.time < LATEST and 0 <= recorded.seconds < LATEST):
        raise DecodeError(f"a call of {recorded.time} that took {recorded.seconds} seconds cannot have been")
    exchange = getattr(log, kind)
    return RecordedCall(
        recorded.time,
        recorded.seconds,
        _PATHS[kind],
        log.log_metadata.model_spec.name,
        recorded.rows,
        Caller(
            recorded.caller,
            cast(Source, recorded.source),
            recorded.group,
            recorded.tier or None,
            recorded.network,
        ),
        tuple(recorded.marks),
        log.log_metadata.sampling_config.sampling_rate,
        exchange.request.SerializeToString(),
        exchange.response.SerializeToString(),
    )


def _field(number: int, content: bytes) -> bytes:
    return _varint(number << 3 | _LENGTH_DELIMITED) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    made = bytearray()
    while value > 0x7F:
        made.append(value & 0x7F | 0x80)
        value >>= 7
    made.append(value)
    return bytes(made)
