"""Every encoding decodes to what TensorFlow itself gives, and goes back as it came."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protos import tensor_pb2 as tensor
from protos.tensor_pb2 import TensorProto, TensorShapeProto
from proxy.tensors import NUMPY_DTYPES, UndecodableTensorError, refuse_repeating, set_array, to_array

_FLOATS = st.floats(width=32, allow_nan=True, allow_infinity=True)
_INT32 = st.integers(-(2**31), 2**31 - 1)
_FIELDS: dict[tensor.DataType, tuple[str, st.SearchStrategy[Any]]] = {
    tensor.DT_FLOAT: ("float_val", _FLOATS),
    tensor.DT_DOUBLE: ("double_val", st.floats()),
    tensor.DT_INT32: ("int_val", _INT32),
    tensor.DT_QINT32: ("int_val", _INT32),
    tensor.DT_INT16: ("int_val", _INT32),
    tensor.DT_UINT16: ("int_val", _INT32),
    tensor.DT_QINT16: ("int_val", _INT32),
    tensor.DT_QUINT16: ("int_val", _INT32),
    tensor.DT_INT8: ("int_val", _INT32),
    tensor.DT_UINT8: ("int_val", _INT32),
    tensor.DT_QINT8: ("int_val", _INT32),
    tensor.DT_QUINT8: ("int_val", _INT32),
    tensor.DT_INT64: ("int64_val", st.integers(-(2**63), 2**63 - 1)),
    tensor.DT_UINT32: ("uint32_val", st.integers(0, 2**32 - 1)),
    tensor.DT_UINT64: ("uint64_val", st.integers(0, 2**64 - 1)),
    tensor.DT_BOOL: ("bool_val", st.booleans()),
    tensor.DT_HALF: ("half_val", st.integers(0, 2**16 - 1)),
    tensor.DT_BFLOAT16: ("half_val", st.integers(0, 2**16 - 1)),
    tensor.DT_COMPLEX64: ("scomplex_val", _FLOATS),
    tensor.DT_COMPLEX128: ("dcomplex_val", st.floats()),
    tensor.DT_STRING: ("string_val", st.binary(max_size=300)),
}


@st.composite
def protos(draw: st.DrawFn) -> TensorProto:
    dtype = draw(st.sampled_from(sorted(_FIELDS)))
    sizes = draw(st.lists(st.integers(0, 4), max_size=3))
    proto = TensorProto(
        dtype=dtype, tensor_shape=TensorShapeProto(dim=[TensorShapeProto.Dim(size=size) for size in sizes])
    )
    field, values = _FIELDS[dtype]
    drawn = draw(st.lists(values, max_size=12))
    if dtype in (tensor.DT_COMPLEX64, tensor.DT_COMPLEX128):
        drawn = drawn[: len(drawn) // 2 * 2]
    getattr(proto, field).extend(drawn)
    if draw(st.booleans()):
        proto.tensor_content = draw(_contents(proto))
    return proto


@st.composite
def _contents(draw: st.DrawFn, proto: TensorProto) -> bytes:
    """Content of the right length or nearly so, made by TensorFlow where it is strings."""
    import tensorflow as tf

    elements = int(np.prod([dim.size for dim in proto.tensor_shape.dim], dtype=np.int64))
    if proto.dtype == tensor.DT_STRING:
        values = draw(st.lists(st.binary(max_size=200), min_size=elements, max_size=elements))
        lengths = b"".join(
            bytes([len(v) & 0x7F | 0x80, len(v) >> 7]) if len(v) > 127 else bytes([len(v)]) for v in values
        )
        return (lengths + b"".join(values))[: draw(st.sampled_from([None, -1]))]
    size = elements * tf.dtypes.as_dtype(proto.dtype).size + draw(st.sampled_from([0, 0, 0, -1, 1]))
    return draw(st.binary(min_size=max(0, size), max_size=max(0, size)))


def genuine(proto: TensorProto) -> Any:
    """What TensorFlow makes of it; None where it refuses."""
    import tensorflow as tf

    try:
        array = tf.io.parse_tensor(proto.SerializeToString(), tf.dtypes.as_dtype(proto.dtype)).numpy()
    except tf.errors.InvalidArgumentError:
        return None
    return np.asarray(array).astype(np.float32) if proto.dtype == tensor.DT_BFLOAT16 else np.asarray(array)


def same(ours: Any, theirs: Any) -> bool:
    if ours.shape != theirs.shape:
        return False
    if ours.dtype == object:
        return list(ours.ravel()) == list(theirs.ravel())
    # Quantised dtypes come from TensorFlow as structured arrays; the bytes are what counts.
    return bool(ours.tobytes() == theirs.tobytes())


@settings(deadline=None, max_examples=400)
@given(protos())
def test_decoding_is_tensorflows(proto: TensorProto) -> None:
    theirs = genuine(proto)
    try:
        ours = to_array(proto)
    except UndecodableTensorError:
        assert theirs is None
        return
    assert theirs is not None
    assert ours.dtype == NUMPY_DTYPES[proto.dtype]
    assert same(ours, theirs)


@settings(deadline=None, max_examples=400)
@given(protos())
def test_values_put_back_are_the_same_values_in_the_same_encoding(proto: TensorProto) -> None:
    try:
        array = to_array(proto)
    except UndecodableTensorError:
        return
    changed = TensorProto()
    changed.CopyFrom(proto)
    set_array(changed, array)
    assert bool(changed.tensor_content) == bool(proto.tensor_content and array.size)
    after, before = to_array(changed), array
    if before.dtype.kind == "f":
        np.testing.assert_array_equal(after, before)
    else:
        assert same(after, before)
    theirs = genuine(changed)
    assert theirs is not None
    if before.dtype.kind != "f":
        assert same(after, theirs)


@pytest.mark.parametrize("dtype", [tensor.DT_RESOURCE, tensor.DT_VARIANT, tensor.DT_INVALID, 12345])
def test_what_has_no_numpy_form_says_so(dtype: tensor.DataType) -> None:
    with pytest.raises(UndecodableTensorError, match="no numpy form"):
        to_array(TensorProto(dtype=dtype))


def test_rows_can_be_added_and_taken_away() -> None:
    proto = TensorProto(dtype=tensor.DT_FLOAT, tensor_shape=TensorShapeProto(dim=[TensorShapeProto.Dim(size=2)]))
    proto.float_val.extend([1, 2])
    set_array(proto, np.array([[1.0, 2], [3, 4], [5, 6]], dtype=np.float32))
    assert [dim.size for dim in proto.tensor_shape.dim] == [3, 2]
    assert list(proto.float_val) == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize(
    ("dtype", "sizes"),
    [
        (tensor.DT_FLOAT, [1] * 33),
        (tensor.DT_FLOAT, [2**40, 2**40]),
        (tensor.DT_FLOAT, [2**62, 2**62, 0]),
        (tensor.DT_FLOAT, [10**8]),
        (tensor.DT_STRING, [10**8]),
        (tensor.DT_UINT8, [256 * 2**10 + 1]),
    ],
    ids=["33 dimensions", "no memory is so large", "nothing, but so large", "floats", "strings", "bytes"],
)
def test_a_few_bytes_become_no_large_array(dtype: tensor.DataType, sizes: list[int]) -> None:
    shape = TensorShapeProto(dim=[TensorShapeProto.Dim(size=size) for size in sizes])
    with pytest.raises(UndecodableTensorError):
        to_array(TensorProto(dtype=dtype, tensor_shape=shape, float_val=[1.0], string_val=[b"a"], int_val=[1]))


def test_a_large_array_may_repeat_its_last_value_a_few_times() -> None:
    shape = TensorShapeProto(dim=[TensorShapeProto.Dim(size=160_000)])
    found = to_array(TensorProto(dtype=tensor.DT_FLOAT, tensor_shape=shape, float_val=range(10_000)))
    assert found[[0, 9_999, 10_000, -1]].tolist() == [0, 9_999, 9_999, 9_999]


def _repeating(number: int, values: int, size: int) -> list[TensorProto]:
    shape = TensorShapeProto(dim=[TensorShapeProto.Dim(size=size)])
    return [TensorProto(dtype=tensor.DT_FLOAT, tensor_shape=shape, float_val=[1.0] * values) for _ in range(number)]


def test_many_tensors_together_repeat_no_more_than_one_may() -> None:
    for each in _repeating(8, 1, 30_000):
        assert len(to_array(each)) == 30_000
    refuse_repeating(_repeating(1, 1, 60_000))  # by itself it is `to_array` that refuses it
    refuse_repeating(_repeating(8, 1, 4_000))
    refuse_repeating(_repeating(8, 4_000, 60_000))
    refuse_repeating([])
    with pytest.raises(UndecodableTensorError, match="send all values"):
        refuse_repeating(_repeating(8, 1, 30_000))
    with pytest.raises(UndecodableTensorError, match="send all values"):
        refuse_repeating(_repeating(300, 1, 300))
    large = TensorShapeProto(dim=[TensorShapeProto.Dim(size=2**63 - 1)] * 300)
    endless = TensorProto(dtype=tensor.DT_FLOAT, tensor_shape=large)
    refuse_repeating([endless] * 2)  # no array is made of them:
    with pytest.raises(UndecodableTensorError, match="300 dimensions"):
        to_array(endless)
