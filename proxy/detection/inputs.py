"""A decoded request as batch-first arrays by input, whatever method it is of."""

from collections.abc import Collection
from hashlib import blake2b
from typing import Any

import numpy as np
from numpy.typing import NDArray

from protos.example_pb2 import Example, Feature
from protos.tensor_pb2 import DT_STRING
from proxy.codec import Decoded
from proxy.protection.requests import OpenRequest, features_of
from proxy.tensors import REPEATED_BYTES, REPEATED_TIMES, UndecodableTensorError, refuse_repeating, to_array

Array = NDArray[Any]

FEW_ROWS = 4096
LEAST_ROW_BYTES = 8
"""Of rows that are looked at before the model is asked, if there are more of them than FEW_ROWS."""

_KINDS: dict[str, Any] = {"float_list": np.float32, "int64_list": np.int64, "bytes_list": object}


def usable(decoded: Decoded, wanted: Collection[str]) -> tuple[dict[str, Array], int] | None:
    """Those of `arrays` that belong to rows one by one; None if there are none, or no array can hold the numbers."""
    try:
        inputs, rows = arrays(decoded, wanted)
    except (ValueError, MemoryError):
        return None
    own = {name: values for name, values in inputs.items() if values.ndim and len(values) == rows and values.size}
    return (own, rows) if own else None


def tensors(message: Any, wanted: Collection[str]) -> tuple[dict[str, Array], int] | None:
    """`usable`, quicker, of a Predict request whose inputs are all plain numbers; None if that takes a closer look."""
    found, sizes = {}, [0]
    held = message.inputs
    try:
        refuse_repeating(held.values())
    except UndecodableTensorError:
        return None
    for name in held:
        proto = held[name]
        sizes.append(proto.tensor_shape.dim[0].size if proto.tensor_shape.dim else 1)
        try:
            if proto.dtype == DT_STRING or not (values := to_array(proto)).size:
                return None
        except (UndecodableTensorError, ValueError, MemoryError):
            return None
        if not wanted or name in wanted:
            found[name] = values
    rows = max(sizes)
    own = {name: values for name, values in found.items() if values.ndim and len(values) == rows}
    return (own, rows) if own else None


def arrays(decoded: Decoded, wanted: Collection[str]) -> tuple[dict[str, Array], int]:
    """The inputs, or features of tf.Examples, and how many rows there are.

    Args:
        decoded: the request.
        wanted: names that count; all if there are none. A string tensor of serialized tf.Examples is opened only for
            features that are named.

    Raises:
        ValueError: a shape is larger than what there is of it.
    """
    request = OpenRequest(decoded, wanted)
    examples = list(request.all_examples)
    if examples:
        return _features(request, examples, wanted), len(examples)
    held = getattr(decoded.message, "inputs", {})
    protos = {name: proto for name, proto in held.items() if not wanted or name in wanted}
    refuse_repeating(protos.values())
    found = {}
    for name, proto in protos.items():
        try:
            found[name] = to_array(proto)
        except UndecodableTensorError:  # of a type without a numpy form
            found[name] = _whole(proto.SerializeToString(deterministic=True), request.rows)
    return found, request.rows


def worth_looking(decoded: Decoded, wanted: Collection[str]) -> tuple[dict[str, Array], int] | None:
    """`usable`, of a request whose rows are to be looked at before the model is asked.

    None besides for very many rows of next to nothing: to look at them takes far longer than to send them.
    """
    opened = usable(decoded, wanted)
    if opened is None:
        return None
    inputs, rows = opened
    tiny = rows > FEW_ROWS and rows * LEAST_ROW_BYTES > sum(values.nbytes for values in inputs.values())
    return None if tiny else opened


def _features(request: OpenRequest, examples: list[Example], wanted: Collection[str]) -> dict[str, Array]:
    context = request.context
    every = [*examples, context] if context is not None else examples
    names = set(wanted) or {name for example in every for name in features_of(example)}
    repeated = 0 if context is None else len(examples) * context.ByteSize()
    spread = repeated <= REPEATED_BYTES or repeated <= REPEATED_TIMES * request.message.ByteSize()
    return {name: _feature(examples, context, name, spread) for name in sorted(names)}


def _feature(examples: list[Example], context: Example | None, name: str, spread: bool) -> Array:
    """(rows, values) if all rows have as many of one kind, else what each row has, as bytes.

    What a row lacks, it has from the shared context (tensorflow_serving/apis/input.proto): a digest of it where rows
    would have far more of it, together, than was sent (`spread`).
    """
    shared = _own(context, name) if context is not None else None
    found = [_own(example, name) or shared for example in examples]
    kinds = {None if each is None else each.WhichOneof("kind") for each in found}
    kind = kinds.pop()
    if not kinds and kind is not None and (spread or not any(each is shared for each in found)):
        own = [] if shared is None else list(getattr(shared, kind).value)
        lists = [own if each is shared else list(getattr(each, kind).value) for each in found]
        if len({len(values) for values in lists}) == 1:
            return np.array(lists, dtype=_KINDS[kind])
    raw = b"" if shared is None else shared.SerializeToString(deterministic=True)
    raw = raw if spread or not raw else blake2b(raw, digest_size=16).digest()
    made = np.empty(len(examples), dtype=object)
    made[:] = [raw if each is None or each is shared else each.SerializeToString(deterministic=True) for each in found]
    return made


def _own(example: Example, name: str) -> Feature | None:
    held = features_of(example)
    return held[name] if name in held and held[name].WhichOneof("kind") is not None else None


def _whole(raw: bytes, rows: int) -> Array:
    """
    Raises:
        ValueError: a shape that claims more rows than there are bytes has none of its own for most of them.
    """
    if rows > len(raw):
        raise ValueError(f"{rows} rows in {len(raw)} bytes")
    made = np.empty(rows, dtype=object)
    made[:] = [raw] * rows
    return made
