"""Observations that other proxies share."""

from collections.abc import Sequence

import numpy as np

from detectors.observation import DIMENSIONS, FINGERPRINT, Answers, Features, Observation
from proxy.detection.wire import UndecodableError, decode, encode
from tests.fuzz.target import Plain


class Wire(Plain):
    """proxy/detection/wire.py; what is read has to be written and read again as the same."""

    name = "wire"
    tokens = (b'"strings":[', b'"calls":[', b"[0.0,0,[],0,0],", b"[]", b"{}", b"null", b"true", b"\\ud800", b'"x"')

    def seeds(self) -> Sequence[bytes]:
        return [encode([made(0)]), encode([made(2), made(1)])]

    def mended(self, data: bytes) -> bytes:
        """The header's length."""
        end = data.find(b"]}") + 2
        return data if end < 10 else b"tw\1\0" + (end - 8).to_bytes(4, "little") + data[8:]

    def run(self, data: bytes) -> str:
        try:
            found = decode(data, "model")
        except UndecodableError as error:
            return _why(str(error))
        if not found:
            return "no observation"
        again = decode(encode(found), "model")
        assert encode(again) == encode(found), "not the same when read again"
        return "decoded"


def _why(problem: str) -> str:
    kind = problem.partition("damaged: ")[2].partition("(")[0]
    return f"damaged: {kind}" if kind else "of no known format"


def made(rows: int) -> Observation:
    rng = np.random.default_rng(rows)
    features = Features(
        rng.integers(0, 2**63, rows, dtype=np.uint64),
        rng.integers(0, 2**63, (rows, FINGERPRINT), dtype=np.uint64),
        rng.normal(size=(rows, DIMENSIONS)).astype(np.float32),
    )
    answers = Answers(np.arange(rows, dtype=np.int32), np.full(rows, 0.5, np.float32), np.full(rows, 0.1, np.float32))
    return Observation(1.5, "peer:10.0.0.1", ("network:10.0.0.0/24",), "model", "serving_default", features, answers)
