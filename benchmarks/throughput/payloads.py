"""What is asked: PredictRequests of five kinds, each with the one fixed reply that the stub upstream gives."""

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.detection_cost.traffic import LOADS, fill, natural, reply
from protos import serving_pb2 as serving
from protos import tensor_pb2 as tensor

POOL_BYTES = 32 * 2**20
"""Of requests that are made before a measurement begins; after the last comes the first again."""
MOST = 5000
"""Distinct requests of one kind."""
WORDS = 12
"""Of a text."""
_VOCABULARY = 2000

_LOADS = {load.name: load for load in LOADS}
LABELS = {
    "image": "28x28x1, one row",
    "images": "28x28x1, 32 rows",
    "photo": "224x224x3, one row",
    "text": f"one text of {WORDS} words",
    "table": "one row of 30 columns",
}
"""The payloads, for people."""


@dataclass(frozen=True, slots=True)
class Payload:
    """Calls of one kind.

    Attributes:
        name: of the payload, and of the model that is asked.
        rows: examples a call.
        requests: serialized PredictRequests of distinct rows.
        reply: a serialized PredictResponse that fits all of them.
        others: more of the same length, which are given in turn.
    """

    name: str
    rows: int
    requests: list[bytes]
    reply: bytes
    others: tuple[bytes, ...] = ()


def payload(name: str, seed: int = 0) -> Payload:
    """The payload of this name, one of `LABELS`."""
    rng = np.random.default_rng(seed)
    size = _LOADS[name].rows if name in _LOADS else 1
    row_bytes = 4 * int(np.prod(_LOADS[name].shape)) if name in _LOADS else 1
    count = max(1, min(MOST, POOL_BYTES // (row_bytes * size)))
    requests = [_request(name, rows(name, size, rng)) for _ in range(count)]
    return Payload(name, size, requests, reply(name, size, np.random.default_rng(0)))


def rows(name: str, count: int, rng: np.random.Generator) -> NDArray[Any]:
    """(count, ...): float32 rows as natural ones are, or an object array of UTF-8 texts."""
    if name in _LOADS:
        return natural(_LOADS[name], count, rng)
    words = _words()
    made = np.empty(count, dtype=object)
    made[:] = [" ".join(words[at] for at in rng.zipf(1.3, WORDS) % _VOCABULARY).encode() for _ in range(count)]
    return made


@cache
def _words() -> list[str]:
    fixed = np.random.default_rng(0)
    return ["".join(map(chr, fixed.integers(97, 123, size))) for size in fixed.integers(2, 11, _VOCABULARY)]


def _request(name: str, values: NDArray[Any]) -> bytes:
    request = serving.PredictRequest(model_spec=serving.ModelSpec(name=name))
    proto = request.inputs["x"]
    if values.dtype == object:
        proto.dtype = tensor.DT_STRING
        proto.tensor_shape.dim.add(size=len(values))
        proto.string_val.extend(values.tolist())
    else:
        fill(proto, values)
    return request.SerializeToString()
