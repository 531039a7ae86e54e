"""Rows and claims of requests; what is refused before any work, what is left to the model server."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protos import serving_pb2 as serving
from protos import tensor_pb2 as tensor
from protos.tensor_pb2 import TensorProto, TensorShapeProto, VariantTensorDataProto
from proxy.codec import EXAMPLE_BYTES, METHODS, claimed_bytes, decode

PREDICT = "/tensorflow.serving.PredictionService/Predict"
CLASSIFY = "/tensorflow.serving.PredictionService/Classify"
MULTI = "/tensorflow.serving.PredictionService/MultiInference"


def shape(*sizes: int) -> TensorShapeProto:
    return TensorShapeProto(dim=[TensorShapeProto.Dim(size=size) for size in sizes])


def test_seventeen_bytes_claim_four_hundred_megabytes() -> None:
    bomb = TensorProto(dtype=tensor.DT_FLOAT, tensor_shape=shape(100_000_000), float_val=[1.0])
    assert len(bomb.SerializeToString()) <= 20
    assert claimed_bytes(bomb) == 400_000_000


@pytest.mark.parametrize(
    ("proto", "claim"),
    [
        (TensorProto(dtype=tensor.DT_FLOAT, tensor_shape=shape(2, 3)), 24),
        (TensorProto(dtype=tensor.DT_DOUBLE), 8),
        (TensorProto(dtype=tensor.DT_FLOAT, tensor_shape=shape(0, 10**9)), 0),
        (TensorProto(dtype=tensor.DT_FLOAT, tensor_shape=shape(-1, 5)), 0),
        (TensorProto(dtype=tensor.DT_FLOAT, tensor_shape=shape(2**40, 2**40)), 0),
        (TensorProto(dtype=tensor.DT_FLOAT, tensor_shape=shape(2**62)), 2**64),
        (TensorProto(dtype=tensor.DT_STRING, tensor_shape=shape(3), string_val=[b"abcd"]), 3 * 24 + 4 + 2 * 4),
        (TensorProto.FromString(b"\x08\xb9\x60" + TensorProto(tensor_shape=shape(10)).SerializeToString()), 160),
    ],
    ids=["filled", "scalar", "empty", "negative", "overflowing", "huge", "repeated string", "unknown dtype"],
)
def test_claims(proto: TensorProto, claim: int) -> None:
    assert claimed_bytes(proto) == claim


def test_tensors_inside_a_variant_count() -> None:
    inner = TensorProto(dtype=tensor.DT_FLOAT, tensor_shape=shape(1000))
    nested = TensorProto(
        dtype=tensor.DT_VARIANT,
        variant_val=[
            VariantTensorDataProto(
                tensors=[TensorProto(dtype=tensor.DT_VARIANT, variant_val=[VariantTensorDataProto(tensors=[inner])])]
            )
        ],
    )
    assert claimed_bytes(nested) == 64 + 64 + 4000


def test_rows_of_predict_are_the_largest_first_dimension() -> None:
    request = serving.PredictRequest(model_spec=serving.ModelSpec(name="m"))
    request.inputs["a"].CopyFrom(TensorProto(dtype=tensor.DT_FLOAT, tensor_shape=shape(32, 28, 28)))
    request.inputs["b"].CopyFrom(TensorProto(dtype=tensor.DT_INT64, tensor_shape=shape(1)))
    request.inputs["c"].CopyFrom(TensorProto(dtype=tensor.DT_FLOAT))
    found = decode(PREDICT, request.SerializeToString())
    assert found is not None
    assert (found.model, found.rows, found.claims) == ("m", 32, {"a": 32 * 28 * 28 * 4, "b": 8, "c": 4})


def test_a_shared_context_is_claimed_once_for_each_example() -> None:
    request = serving.ClassificationRequest(model_spec=serving.ModelSpec(name="m"))
    shared = request.input.example_list_with_context
    shared.context.features.feature["f"].bytes_list.value.append(b"x" * 1000)
    shared.examples.extend([shared.context.__class__() for _ in range(50)])
    found = decode(CLASSIFY, request.SerializeToString())
    assert found is not None
    assert found.rows == 50
    assert found.claims["input"] == 50 * (EXAMPLE_BYTES + shared.context.ByteSize())


def test_multi_inference_goes_by_its_first_task() -> None:
    request = serving.MultiInferenceRequest()
    request.tasks.add().model_spec.name = "m"
    request.tasks.add().model_spec.name = "m"
    request.input.example_list.examples.add()
    found = decode(MULTI, request.SerializeToString())
    assert found is not None
    assert (found.model, found.rows) == ("m", 1)


def test_what_is_no_message_is_left_to_the_upstream() -> None:
    assert decode(PREDICT, b"\xff\xff\xff") is None


@given(st.sampled_from(sorted(METHODS)), st.binary(max_size=300))
def test_no_bytes_break_the_decoder(path: str, body: bytes) -> None:
    found = decode(path, body)
    assert found is None or (found.rows >= 0 and all(claim >= 0 for claim in found.claims.values()))


_DTYPES: dict[tensor.DataType, str] = {
    tensor.DT_FLOAT: "float_val",
    tensor.DT_DOUBLE: "double_val",
    tensor.DT_INT32: "int_val",
    tensor.DT_INT64: "int64_val",
    tensor.DT_BOOL: "bool_val",
    tensor.DT_STRING: "string_val",
}


@settings(deadline=None)
@given(st.sampled_from(sorted(_DTYPES)), st.lists(st.integers(0, 6), max_size=4), st.integers(0, 3))
def test_a_claim_is_at_least_what_tensorflow_allocates(dtype: tensor.DataType, sizes: list[int], values: int) -> None:
    import tensorflow as tf

    proto = TensorProto(dtype=dtype, tensor_shape=shape(*sizes))
    getattr(proto, _DTYPES[dtype]).extend([b"ab" if dtype == tensor.DT_STRING else 1] * values)
    array = np.asarray(tf.io.parse_tensor(proto.SerializeToString(), tf.dtypes.as_dtype(dtype)).numpy())
    held = sum(map(len, array.ravel())) if dtype == tensor.DT_STRING else array.nbytes
    assert claimed_bytes(proto) >= held
