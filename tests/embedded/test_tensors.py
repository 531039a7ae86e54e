"""Reading and writing TensorProtos, against TensorFlow's own C++."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tensorflow.core.framework import tensor_pb2, types_pb2

from proxy.embedded import tensors
from proxy.embedded.runtime import tf
from proxy.embedded.status import StatusError

FLOAT = types_pb2.DT_FLOAT
NO_VALUES = {types_pb2.DT_INVALID, types_pb2.DT_RESOURCE, types_pb2.DT_VARIANT}
VALUE_TYPES = sorted(number for number in types_pb2.DataType.values() if number < 100 and number not in NO_VALUES)


def tensor(dims: Any = (), dtype: int = FLOAT, **fields: Any) -> Any:
    proto = tensor_pb2.TensorProto(dtype=dtype, **fields)
    proto.tensor_shape.SetInParent()
    for size in dims:
        proto.tensor_shape.dim.add().size = size
    return proto


def in_cpp(proto: Any) -> Any:
    """What `Tensor::FromProto` makes of it, as the ParseTensor operation has it; None for a refusal."""
    try:
        return tf.raw_ops.ParseTensor(serialized=proto.SerializeToString(), out_type=proto.dtype).numpy()
    except (TypeError, tf.errors.OpError):
        return None


def same(left: Any, right: Any) -> bool:
    """Equal to the bit; scalar strings come as bytes."""
    left, right = (np.asarray(side, object if isinstance(side, bytes) else None) for side in (left, right))
    if left.dtype == object:
        return bool(left.shape == right.shape and left.tolist() == right.tolist())
    return bool(left.shape == right.shape and left.tobytes() == right.tobytes())


@pytest.mark.parametrize(
    ("proto", "expected"),
    [
        pytest.param(tensor((3,)), [0, 0, 0], id="no values are zeros"),
        pytest.param(tensor((3,), float_val=[7]), [7, 7, 7], id="one value fills the shape"),
        pytest.param(tensor((4,), float_val=[1, 2]), [1, 2, 2, 2], id="of fewer values the last repeats"),
        pytest.param(tensor((2,), float_val=[1, 2, 3]), [1, 2], id="of more values the first count"),
        pytest.param(tensor((2,), int_val=[1, 2]), [0, 0], id="values in another field do not count"),
        pytest.param(tensor((1,), float_val=[9], tensor_content=np.float32(5).tobytes()), [5], id="content wins"),
        pytest.param(tensor((), float_val=[4, 5]), 4, id="no dimensions, a scalar"),
        pytest.param(tensor_pb2.TensorProto(dtype=FLOAT, float_val=[4]), 4, id="no shape, a scalar"),
        pytest.param(tensor((0, 4)), np.zeros((0, 4)), id="no rows"),
        pytest.param(tensor((0, 4), tensor_content=b"?"), np.zeros((0, 4)), id="no rows, content that nobody reads"),
    ],
)
def test_values_are_read_by_the_rules_of_the_cpp(proto: Any, expected: Any) -> None:
    parsed = tensors.parse(proto)
    assert isinstance(parsed, np.ndarray)
    assert same(parsed, np.asarray(expected, np.float32))


@pytest.mark.parametrize(
    "proto",
    [
        pytest.param(tensor((2,), tensor_content=b"\0" * 7), id="content too short"),
        pytest.param(tensor((2,), tensor_content=b"\0" * 9), id="content too long"),
        pytest.param(tensor((-1,), float_val=[1]), id="negative size"),
        pytest.param(tensor((-1, -2), tensor_content=b"\0" * 8), id="negative sizes whose product is not"),
        pytest.param(tensor((2**62, 4), float_val=[1]), id="sizes that overflow"),
        pytest.param(tensor((2,), dtype=0), id="DT_INVALID"),
        pytest.param(tensor((2,), dtype=12345), id="no such type"),
        pytest.param(tensor((2,), dtype=types_pb2.DT_FLOAT_REF, float_val=[1]), id="a reference type"),
        pytest.param(tensor_pb2.TensorProto(), id="empty"),
        pytest.param(tensor([1] * 300, float_val=[1]), id="too many dimensions"),
    ],
)
def test_what_the_cpp_refuses_is_refused(proto: Any) -> None:
    assert in_cpp(proto) is None
    with pytest.raises(tensors.TensorParseError):
        tensors.parse(proto)


def test_more_memory_than_there_is_is_refused_at_once() -> None:
    with pytest.raises(tensors.TensorParseError):
        tensors.parse(tensor((2**50,), float_val=[1]))


@pytest.mark.parametrize(("number", "name"), [(types_pb2.DT_RESOURCE, "resource"), (types_pb2.DT_VARIANT, "variant")])
def test_what_numpy_cannot_hold_is_opaque(number: int, name: str) -> None:
    assert tensors.parse(tensor((1,), dtype=number)) == tensors.Opaque(name)


DIMS = st.lists(st.integers(-1, 4), max_size=3)
CONTENT = st.one_of(st.just(b""), st.integers(0, 24).map(lambda n: bytes(range(n))))
FIELDS = st.fixed_dictionaries(
    {},
    optional={
        "float_val": st.lists(st.floats(width=32), max_size=5),
        "int_val": st.lists(st.integers(-128, 127), max_size=5),
        "half_val": st.lists(st.integers(0, 65535), max_size=5),
        "bool_val": st.lists(st.booleans(), max_size=5),
        "string_val": st.lists(st.binary(max_size=3), max_size=5),
        "tensor_content": CONTENT,
    },
)


@given(st.sampled_from(VALUE_TYPES), DIMS, FIELDS, st.booleans())
def test_any_proto_is_read_as_the_cpp_reads_it(dtype: int, dims: list[int], fields: Any, unknown_rank: bool) -> None:
    proto = tensor(dims, dtype, **fields)
    proto.tensor_shape.unknown_rank = unknown_rank
    expected = in_cpp(proto)
    if expected is None:
        with pytest.raises(tensors.TensorParseError):
            tensors.parse(proto)
    else:
        assert same(tensors.parse(proto), expected)


NARROW = {"bool", "int2", "uint2", "int4", "uint4", "float4_e2m1fn"}


def values(dtype: int, shape: tuple[int, ...], seed: int) -> Any:
    """Some array of a TensorFlow type: any bits for numbers of whole bytes, any bytes for strings."""
    rng = np.random.default_rng(seed)
    kind = tf.dtypes.as_dtype(dtype)
    if kind == tf.string:
        made = np.empty(shape, object)
        for index in np.ndindex(shape):
            made[index] = rng.bytes(3)
        return made
    numpy_type = np.dtype(kind.as_numpy_dtype)
    if kind.name in NARROW:
        return rng.integers(0, 2, shape).astype(numpy_type)
    return np.frombuffer(rng.bytes(int(np.prod(shape)) * numpy_type.itemsize), numpy_type).reshape(shape)


@pytest.mark.parametrize("dtype", VALUE_TYPES, ids=types_pb2.DataType.Name)
@pytest.mark.parametrize("shape", [(), (0, 2), (3,), (2, 3)], ids=str)
def test_every_type_is_written_so_that_the_cpp_reads_it_back(dtype: int, shape: tuple[int, ...]) -> None:
    array = values(dtype, shape, seed=dtype)
    proto = tensor_pb2.TensorProto()
    tensors.write(array, tf.dtypes.as_dtype(dtype), proto)
    assert same(in_cpp(proto), array)
    assert (proto.dtype, proto.version_number, proto.tensor_content) == (dtype, 0, b"")
    assert [dim.size for dim in proto.tensor_shape.dim] == list(shape)
    assert proto.HasField("tensor_shape")


def test_equal_values_are_all_written() -> None:
    proto = tensor_pb2.TensorProto()
    tensors.write(np.full((2, 3), 5, np.int64), tf.int64, proto)
    assert list(proto.int64_val) == [5] * 6


def test_a_resource_cannot_be_written() -> None:
    with pytest.raises(StatusError, match="A tensor of type resource cannot be returned"):
        tensors.write(np.zeros(1, np.uint8), tf.resource, tensor_pb2.TensorProto())
