"""TensorProto to numpy and back, by TensorFlow's own rules (core/framework/tensor.cc: FromProto, AsProtoField).

`tensor_content` wins over the typed fields; no values are zeros; fewer values than elements repeat the last; more are
cut off. A changed tensor goes back in the encoding that it came in, so that nobody sees anything unusual.
"""

import math
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from protos import tensor_pb2 as tensor
from protos.tensor_pb2 import TensorProto

Array = NDArray[Any]


MAX_DIMENSIONS = 32
"""Some of numpy's functions take no more; TensorFlow's shapes have up to 254."""
REPEATED_BYTES = 128 * 2**10
REPEATED_TIMES = 16
"""An array that repeats its last value has up to REPEATED_BYTES, or this many times the values that came. Else a few
bytes would take any amount of memory here, as they do in TensorFlow."""
_MAX_BYTES = 2**62
"""Of an array, sizes of 0 taken for 1: far from what numpy can count, and more than any memory."""


class UndecodableTensorError(ValueError):
    """A TensorProto that TensorFlow refuses, or that has no numpy form here; it is left to the upstream."""


@dataclass(frozen=True, slots=True)
class _Kind:
    """Attributes: dtype, of one element as stored; field, the typed values; wide, the dtype in that field."""

    dtype: np.dtype[Any]
    field: str
    wide: np.dtype[Any]


def _kind(dtype: str, field: str, wide: str) -> _Kind:
    return _Kind(np.dtype(dtype), field, np.dtype(wide))


_WIDEST = 16
_POINTER = 8
"""Bytes of an element: of complex numbers; of strings, which are held once however often they are repeated."""
_KINDS: dict[int, _Kind] = {
    tensor.DT_FLOAT: _kind("<f4", "float_val", "<f4"),
    tensor.DT_DOUBLE: _kind("<f8", "double_val", "<f8"),
    tensor.DT_INT32: _kind("<i4", "int_val", "<i4"),
    tensor.DT_QINT32: _kind("<i4", "int_val", "<i4"),
    tensor.DT_INT16: _kind("<i2", "int_val", "<i4"),
    tensor.DT_QINT16: _kind("<i2", "int_val", "<i4"),
    tensor.DT_UINT16: _kind("<u2", "int_val", "<i4"),
    tensor.DT_QUINT16: _kind("<u2", "int_val", "<i4"),
    tensor.DT_INT8: _kind("i1", "int_val", "<i4"),
    tensor.DT_QINT8: _kind("i1", "int_val", "<i4"),
    tensor.DT_UINT8: _kind("u1", "int_val", "<i4"),
    tensor.DT_QUINT8: _kind("u1", "int_val", "<i4"),
    tensor.DT_INT64: _kind("<i8", "int64_val", "<i8"),
    tensor.DT_UINT32: _kind("<u4", "uint32_val", "<u4"),
    tensor.DT_UINT64: _kind("<u8", "uint64_val", "<u8"),
    tensor.DT_BOOL: _kind("?", "bool_val", "?"),
    tensor.DT_HALF: _kind("<f2", "half_val", "<i4"),
    tensor.DT_BFLOAT16: _kind("<u2", "half_val", "<i4"),
    tensor.DT_COMPLEX64: _kind("<c8", "scomplex_val", "<f4"),
    tensor.DT_COMPLEX128: _kind("<c16", "dcomplex_val", "<f8"),
}
NUMPY_DTYPES: dict[int, np.dtype[Any]] = {
    **{dtype: kind.dtype for dtype, kind in _KINDS.items()},
    tensor.DT_BFLOAT16: np.dtype("<f4"),
    tensor.DT_STRING: np.dtype(object),
}
"""The dtype of the array that `to_array` gives for each DataType: bytes objects for strings, float32 for bfloat16."""


def to_array(proto: TensorProto) -> Array:
    """The tensor's values.

    Raises:
        UndecodableTensorError: no values can be had from it.
    """
    shape = _shape(proto)
    if proto.dtype == tensor.DT_STRING:
        return _strings(proto, shape)
    kind = _KINDS.get(proto.dtype)
    if kind is None:
        raise UndecodableTensorError(f"dtype {proto.dtype} has no numpy form")
    content = proto.tensor_content  # each look at it is a copy
    if content and _elements(shape):
        stored = _content(content, kind, _elements(shape))
    else:
        stored = _fill(_values(proto, kind), _elements(shape))
    return _from_stored(stored, proto.dtype).reshape(shape)


def refuse_repeating(protos: Collection[TensorProto]) -> None:
    """To be called before arrays of several tensors are made: what one may repeat, many may not each.

    Raises:
        UndecodableTensorError: together they are larger than REPEATED_BYTES, and REPEATED_TIMES what was sent of them.
    """
    if len(protos) < 2:
        return
    size = sum(_claimed(proto) for proto in protos)
    if size > REPEATED_BYTES and size > REPEATED_TIMES * (sent := sum(proto.ByteSize() for proto in protos)):
        raise UndecodableTensorError(f"{sent} bytes are sent for tensors that take far more; send all values")


def _claimed(proto: TensorProto) -> int:
    """Bytes of its array; 0 if there is none. A product of all that a shape may say takes seconds."""
    dtype = NUMPY_DTYPES.get(proto.dtype)
    try:
        return 0 if dtype is None else _elements(_shape(proto)) * dtype.itemsize
    except UndecodableTensorError:
        return 0


def rows_with_values(proto: TensorProto) -> int:
    """The first size of its shape, 1 for a scalar; 0 where the shape claims what no array of `to_array` can have.

    A shape takes a few bytes, and may claim any number of rows of nothing, or more than there are values.
    """
    shape = [dim.size for dim in proto.tensor_shape.dim]
    if min(shape, default=1) <= 0:
        return 0
    rows = int(shape[0]) if shape else 1
    return rows if rows <= REPEATED_BYTES or rows <= REPEATED_TIMES * proto.ByteSize() else 0


def set_array(proto: TensorProto, array: Array) -> None:
    """Puts other values into a tensor, of the array's shape, in the encoding that the tensor has.

    Args:
        proto: changed in place; its dtype stays.
        array: of the dtype that `to_array` gives for the proto's dtype.
    """
    as_content = bool(proto.tensor_content)
    if tuple(dim.size for dim in proto.tensor_shape.dim) != array.shape:
        del proto.tensor_shape.dim[:]
        for size in array.shape:
            proto.tensor_shape.dim.add(size=size)
    if proto.dtype == tensor.DT_STRING:
        proto.ClearField("string_val")
        if as_content:
            proto.tensor_content = _encode_strings(array.ravel().tolist())
        else:
            proto.string_val.extend(array.ravel().tolist())
        return
    kind = _KINDS[proto.dtype]
    stored = np.ascontiguousarray(_to_stored(array, proto.dtype)).reshape(-1)
    proto.ClearField(kind.field)
    if as_content:
        proto.tensor_content = stored.tobytes()
    else:
        getattr(proto, kind.field).extend(_widened(stored, kind).tolist())


def _shape(proto: TensorProto) -> tuple[int, ...]:
    rank = len(proto.tensor_shape.dim)
    if rank > MAX_DIMENSIONS:
        raise UndecodableTensorError(f"a shape of {rank} dimensions; {MAX_DIMENSIONS} are understood")
    shape = tuple(int(dim.size) for dim in proto.tensor_shape.dim)
    if any(size < 0 for size in shape):
        raise UndecodableTensorError(f"shape {list(shape)} has a negative size")
    if _elements(max(1, size) for size in shape) > _MAX_BYTES // _WIDEST:
        raise UndecodableTensorError(f"shape {list(shape)} is larger than any memory")
    return shape


def _content(content: bytes, kind: _Kind, elements: int) -> Array:
    if len(content) != elements * kind.dtype.itemsize:
        raise UndecodableTensorError(f"tensor_content has {len(content)} bytes, not {elements * kind.dtype.itemsize}")
    if kind.dtype.kind == "b" and max(content) > 1:
        raise UndecodableTensorError("tensor_content holds a bool that is neither 0 nor 1")
    return np.frombuffer(content, dtype=kind.dtype)


def _values(proto: TensorProto, kind: _Kind) -> Array:
    values = np.array(getattr(proto, kind.field), dtype=kind.wide)
    if kind.dtype.kind == "c":
        return values[: len(values) // 2 * 2].view(kind.dtype)
    if kind.field == "half_val":
        return values.astype("<u2").view(kind.dtype)
    return values.astype(kind.dtype)


def _widened(stored: Array, kind: _Kind) -> Array:
    if kind.dtype.kind == "c":
        return stored.view(kind.wide)
    if kind.field == "half_val":
        return stored.view("<u2")
    return stored


def _fill(values: Array, elements: int) -> Array:
    if len(values) >= elements:
        return values[:elements]
    _refuse_repeating(len(values), elements, values.itemsize)
    filled = np.empty(elements, dtype=values.dtype)
    filled[: len(values)] = values
    filled[len(values) :] = values[-1] if len(values) else 0
    return filled


def _refuse_repeating(values: int, elements: int, item_bytes: int) -> None:
    if elements * item_bytes > max(REPEATED_BYTES, REPEATED_TIMES * values * item_bytes):
        raise UndecodableTensorError(f"{values} values are sent for {elements} elements; send all of them")


def _from_stored(stored: Array, dtype: int) -> Array:
    """bfloat16 is the upper half of a float32."""
    return (stored.astype("<u4") << 16).view("<f4") if dtype == tensor.DT_BFLOAT16 else stored


def _to_stored(array: Array, dtype: int) -> Array:
    if dtype != tensor.DT_BFLOAT16:
        return array.astype(_KINDS[dtype].dtype, copy=False)
    bits = np.ascontiguousarray(array, dtype="<f4").view("<u4")
    rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16  # to nearest, ties to even
    return np.where(np.isnan(array), 0x7FC0, rounded).astype("<u2")


def _elements(shape: Iterable[int]) -> int:
    return math.prod(shape)


def sent_strings(proto: TensorProto) -> list[bytes]:
    """The elements of a string tensor as they are sent: the last may stand for any number more.

    Raises:
        UndecodableTensorError: no values can be had from it.
    """
    elements = _elements(_shape(proto))
    from_content = proto.tensor_content and elements
    values = _decode_strings(proto.tensor_content, elements) if from_content else list(proto.string_val)
    return values[:elements]


def _strings(proto: TensorProto, shape: tuple[int, ...]) -> Array:
    elements = _elements(shape)
    values = sent_strings(proto)
    _refuse_repeating(len(values), elements, _POINTER)
    if values and (elements - len(values)) * len(values[-1]) > max(
        REPEATED_BYTES, REPEATED_TIMES * sum(map(len, values))
    ):
        raise UndecodableTensorError(
            f"a text of {len(values[-1])} bytes stands for {elements - len(values)} more; send them"
        )
    array = np.empty(elements, dtype=object)
    array[: len(values)] = values
    array[len(values) :] = values[-1] if values else b""
    return array.reshape(shape)


def _decode_strings(content: bytes, elements: int) -> list[bytes]:
    """As TensorFlow's DecodeStringList: all lengths as varints, then all bytes."""
    lengths, at = [], 0
    for _ in range(elements):
        length, shift = 0, 0
        while True:
            if at >= len(content) or shift > 28:
                raise UndecodableTensorError("tensor_content holds no list of strings")
            byte = content[at]
            at += 1
            length |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
        lengths.append(length)
    if at + sum(lengths) != len(content):
        raise UndecodableTensorError("tensor_content holds no list of strings")
    values = []
    for length in lengths:
        values.append(content[at : at + length])
        at += length
    return values


def _encode_strings(values: list[bytes]) -> bytes:
    return b"".join(_varint(len(value)) for value in values) + b"".join(values)


def _varint(number: int) -> bytes:
    encoded = bytearray()
    while number >= 0x80:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)
