"""TensorProto <-> numpy by the rules of TensorFlow's C++ (`Tensor::FromProto`, `Tensor::AsProtoField`).

Reading differs from `tf.make_ndarray`: no values are zeros, too few repeat the last, too many are dropped, and
`tensor_content` wins over values. Writing differs from `tf.make_tensor_proto`: numbers go into the typed value fields,
never into `tensor_content`, and nothing is compressed.
"""

import math
import os
from dataclasses import dataclass
from typing import Any

import grpc
import numpy as np
from numpy.typing import NDArray

from proxy.embedded.runtime import tf
from proxy.embedded.status import StatusError

Array = NDArray[Any]


MEMORY_BYTES = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
MAX_RANK = 32  # numpy's limit before 2.0; the C++ takes 254, and no model does

# Types whose `tensor_content` is their numpy memory.
_PLAIN_TYPES = ["half", "bfloat16", "float", "double", "complex64", "complex128"]
_PLAIN_TYPES += ["int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"]
_PLAIN: dict[int, np.dtype[Any]] = {
    dtype.as_datatype_enum: np.dtype(dtype.as_numpy_dtype) for dtype in map(tf.dtypes.as_dtype, _PLAIN_TYPES)
}


@dataclass(frozen=True)
class Opaque:
    """A tensor that parses but has no numpy form (resource, variant); `dtype` is TensorFlow's name of its type."""

    dtype: str


class TensorParseError(Exception):
    """The TensorProto is none: unknown type, impossible shape, or content of the wrong length."""


def parse(proto: Any) -> Array | Opaque:
    """The value of a TensorProto as `Tensor::FromProto` reads it; `unknown_rank` is not looked at, there as here.

    As there, a shape alone decides how much memory is taken: a few bytes can ask for gigabytes.

    Raises:
        TensorParseError: `Tensor::FromProto` refuses it.
    """
    shape = [dim.size for dim in proto.tensor_shape.dim]
    if len(shape) > MAX_RANK or min(shape, default=0) < 0:
        raise TensorParseError
    elements = math.prod(shape)
    layout = _PLAIN.get(proto.dtype)
    content = proto.tensor_content
    if layout is None or not content or not elements:  # where there are no elements, nobody reads the content
        return _parse_in_cpp(proto, elements)
    # The common case without copies. Content of the wrong length goes no further: C++ would write it into a text.
    if len(content) != elements * layout.itemsize:
        raise TensorParseError
    return np.frombuffer(content, layout).reshape(shape)


def _parse_in_cpp(proto: Any, elements: int) -> Array | Opaque:
    try:
        dtype = tf.dtypes.as_dtype(proto.dtype)
        if elements * dtype.size > MEMORY_BYTES:  # the operation would wait ten seconds for somebody to free some
            raise TensorParseError
        serialized = tf.constant(proto.SerializeToString())  # a bare string would take the op's slow path
        tensor = tf.raw_ops.ParseTensor(serialized=serialized, out_type=dtype)
    except (TypeError, tf.errors.OpError):
        raise TensorParseError from None
    if dtype in (tf.resource, tf.variant):
        return Opaque(cpp_name(dtype))
    array = np.asarray(tensor.numpy(), dtype=object if dtype == tf.string else None)
    # Quantised types come as plain integers; a feed needs numpy's structured twin to know the type again.
    return array.view(dtype.as_numpy_dtype) if dtype.is_quantized else array


def cpp_name(dtype: Any) -> str:
    """The name of a `tf.DType` in C++ texts (`DataTypeString`)."""
    return {"float32": "float", "float64": "double", "float16": "half"}.get(dtype.name, str(dtype.name))


# Packed wire form of the value field is the array's own memory: field number and the type to lay it out in.
_PACKED = {
    "float32": (5, "<f4"),
    "float64": (6, "<f8"),
    "complex64": (9, "<c8"),
    "complex128": (12, "<c16"),
    "bool": (11, "?"),
}
# Values that are written one by one: field and the integer type to go through.
_LISTED = {
    "int64": ("int64_val", np.int64),
    "uint32": ("uint32_val", np.uint32),
    "uint64": ("uint64_val", np.uint64),
}
_LENGTH_DELIMITED = 2


def write(array: Array, dtype: Any, proto: Any) -> None:
    """Fill an empty TensorProto from an array of the `tf.DType` as `Tensor::AsProtoField` does.

    Raises:
        StatusError: UNIMPLEMENTED for resource and variant tensors, which no caller could use.
    """
    proto.dtype = dtype.as_datatype_enum
    proto.tensor_shape.SetInParent()
    for size in array.shape:
        proto.tensor_shape.dim.add().size = size
    if array.size:
        _write_values(array, dtype, proto)


def _write_values(array: Array, dtype: Any, proto: Any) -> None:
    name: str = dtype.name
    if name in _PACKED:
        field, layout = _PACKED[name]
        data = array.astype(layout, copy=False).tobytes()
        proto.MergeFromString(_varint(field << 3 | _LENGTH_DELIMITED) + _varint(len(data)) + data)
    elif name == "string":
        proto.string_val.extend(array.ravel().tolist())
    elif name in ("float16", "bfloat16"):
        proto.half_val.extend(array.view(np.uint16).ravel().tolist())
    elif name.startswith(("float8", "float4")):
        proto.float8_val = array.tobytes()
    elif name in _LISTED:
        target, through = _LISTED[name]
        getattr(proto, target).extend(array.astype(through, copy=False).ravel().tolist())
    elif dtype.is_integer or dtype.is_quantized:
        proto.int_val.extend(array.astype(np.int32).ravel().tolist())
    else:
        raise StatusError(grpc.StatusCode.UNIMPLEMENTED, f"A tensor of type {name} cannot be returned.")


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)
