"""Captured files, and observations that a live window sends."""

import io
import struct
from collections.abc import Sequence

from google.protobuf.message import DecodeError, Message

from detectors.features import Extractor
from protos.capture_pb2 import Mark, Observed
from protos.prediction_log_pb2 import PredictionLog
from proxy.capture.observed import from_wire, observation, to_wire
from proxy.capture.record import RecordedCall, encoded
from proxy.capture.source import File, Source
from proxy.capture.tfrecord import FRAME, framed
from proxy.config.detection import Detection
from proxy.identity import Caller
from tests.fuzz.target import Plain
from tests.fuzz.targets.calls import TOKENS, Calls, answer, parted

_HEAD = 12


class Captured(Plain):
    """proxy/capture/tfrecord.py, source.py, record.py and observed.py: a file is read as replay and calibrate do it."""

    name = "tfrecord"
    tokens = (*TOKENS, b"peer", b"api_key", struct.pack("<Q", 2**31 - 1), struct.pack("<Q", 2**63))

    def __init__(self) -> None:
        self._settings = Detection()
        self._extractor = Extractor(bytes(16))

    def seeds(self) -> Sequence[bytes]:
        calls = [encoded(call) for call in map(_recorded, Calls().seeds()) if call is not None]
        return [
            *map(framed, calls),
            b"".join(map(framed, calls[:3])),
            framed(b""),
            framed(PredictionLog().SerializeToString()),
        ]

    def message(self, data: bytes) -> tuple[slice, type[Message]] | None:
        """That of the first record, if it is the only one; `mended` frames it again."""
        return (slice(_HEAD, len(data) - 4), PredictionLog) if _length(data) + FRAME == len(data) else None

    def mended(self, data: bytes) -> bytes:
        """The checksums of up to three records; the last one goes to the end."""
        made: list[bytes] = []
        at = 0
        while at + FRAME <= len(data):
            rest = len(data) - at - FRAME
            length = _length(data[at:])
            if len(made) == 2 or length > rest or rest - length < FRAME:
                length = rest
            made.append(framed(data[at + _HEAD : at + _HEAD + length]))
            at += FRAME + length
        return b"".join(made)

    def run(self, data: bytes) -> str:
        source = Source([])
        source.files = [File("file", len(data), lambda: io.BytesIO(data))]
        calls = seen = 0
        for call in source:
            calls += 1
            encoded(call)
            found = observation(call, self._settings, self._extractor)
            if found is not None:
                seen += 1
                again = from_wire(to_wire(found, False), found.model)
                assert again.rows == found.rows
        for problem in source.problems:
            assert problem.startswith("file: "), problem
        what = (
            "damaged" if any("damaged" in each for each in source.problems) else "foreign" if source.foreign else "read"
        )
        if any("cannot be read" in each for each in source.problems):
            raise AssertionError(source.problems[0])
        return f"{what}, {'some' if calls else 'no'} calls, {'some' if seen else 'none'} observed"


class LiveWindow(Plain):
    """The message of one observation, as `tensorwall calibrate` gets it from a running proxy."""

    name = "observed"
    tokens = TOKENS

    def seeds(self) -> Sequence[bytes]:
        from tests.fuzz.targets.wire import made

        return [to_wire(made(rows), marked=False).SerializeToString() for rows in (0, 1, 3)]

    def message(self, data: bytes) -> tuple[slice, type[Message]]:
        """All of it."""
        return slice(0, len(data)), Observed

    def run(self, data: bytes) -> str:
        try:
            found = from_wire(Observed.FromString(data), "model")
        except (DecodeError, ValueError):
            return "undecodable"
        again = to_wire(found, False).SerializeToString()
        assert to_wire(from_wire(Observed.FromString(again), "model"), False).SerializeToString() == again
        return "decoded"


def _length(data: bytes) -> int:
    return int.from_bytes(data[:8], "little")


def _recorded(data: bytes) -> RecordedCall | None:
    path, body = parted(data)
    caller = Caller("peer:10.0.0.1", "peer", "network:10.0.0.0/24", None, "10.0.0.1")
    if not path.startswith("/tensorflow.serving.PredictionService/") or path.endswith("GetModelMetadata"):
        return None
    mark = Mark(technique="evasion", step="block", mode="enforce", subject="caller", profile="defaults")
    return RecordedCall(1.0, 0.1, path, "free", 3, caller, [mark], 1.0, body, answer(path, body).body)
