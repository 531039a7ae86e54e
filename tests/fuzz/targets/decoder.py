"""Requests as messages and tensors as arrays."""

from typing import Any

import numpy as np

from protos.tensor_pb2 import TensorProto
from proxy.codec import decode
from proxy.tensors import UndecodableTensorError, set_array, to_array
from tests.fuzz.targets.calls import Calls, parted

BUDGET = 64 * 2**20
"""As bounds.tensor_bytes has it by default; what claims more is refused before it is opened."""


class Decoder(Calls):
    """proxy/codec.py and proxy/tensors.py; what is written back has to be read as the same."""

    name = "decoder"

    def run(self, data: bytes) -> str:
        path, body = parted(data)
        decoded = decode(path, body)
        if decoded is None:
            return "unparsable"
        assert decoded.rows >= 0
        assert all(claim >= 0 for claim in decoded.claims.values())
        if sum(decoded.claims.values()) > BUDGET:
            return "tensor_budget"
        inputs = getattr(decoded.message, "inputs", {})
        read = [_read(inputs[name]) for name in inputs]
        return "decoded" if all(read) else "undecodable tensor"


def _read(proto: TensorProto) -> bool:
    try:
        values = to_array(proto)
    except UndecodableTensorError:
        return False
    set_array(proto, values)
    assert _same(to_array(proto), values), "another tensor when read again"
    return True


def _same(one: Any, other: Any) -> bool:
    """All NaN count as one: bfloat16 has no other when it is written."""
    return one.dtype == other.dtype and np.array_equal(one, other, equal_nan=one.dtype.kind in "fc")
