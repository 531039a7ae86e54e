"""A decoded request as batch-first arrays by input, whatever method it is of."""

from collections.abc import Collection
from typing import Any

import numpy as np
from numpy.typing import NDArray

from protos.example_pb2 import Example
from proxy.codec import Decoded
from proxy.protection.requests import OpenRequest
from proxy.tensors import UndecodableTensorError, to_array

Array = NDArray[Any]


def arrays(decoded: Decoded, wanted: Collection[str]) -> tuple[dict[str, Array], int]:
    """The inputs, or features of tf.Examples, and how many rows there are.

    Args:
        decoded: the request.
        wanted: names that count; all if there are none. A string tensor of serialized tf.Examples is opened only for
            features that are named.
    """
    request = OpenRequest(decoded, wanted)
    examples = list(request.all_examples)
    if examples:
        return _features(request, examples, wanted), len(examples)
    found = {}
    for name in getattr(decoded.message, "inputs", ()):
        proto = request.tensor(name)
        if proto is not None and (not wanted or name in wanted):
            try:
                found[name] = to_array(proto)
            except UndecodableTensorError:  # of a type without a numpy form
                found[name] = _whole(proto.SerializeToString(deterministic=True), request.rows)
    return found, request.rows


def _features(request: OpenRequest, examples: list[Example], wanted: Collection[str]) -> dict[str, Array]:
    names = set(wanted) or {name for example in examples for name in example.features.feature}
    return {name: _feature(request, examples, name) for name in sorted(names)}


def _feature(request: OpenRequest, examples: list[Example], name: str) -> Array:
    """(rows, values) if all rows have as many of one kind, else what each row has, as bytes."""
    blocks = [block for block in request.blocks(name) if block.label != "the shared context"]
    if len(blocks) == 1 and len(blocks[0].values) == len(examples):
        return blocks[0].values
    made = np.empty(len(examples), dtype=object)
    made[:] = [
        example.features.feature[name].SerializeToString(deterministic=True)
        if name in example.features.feature
        else b""
        for example in examples
    ]
    return made


def _whole(raw: bytes, rows: int) -> Array:
    made = np.empty(rows, dtype=object)
    made[:] = [raw] * rows
    return made
