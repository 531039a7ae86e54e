"""Predict: the inputs. Their number first, then their names, then output_filter, then the graph itself."""

import re

import grpc
import numpy as np

from protos import tensor_pb2 as tensors
from tests.conformance.case import PREDICT, Case, refused
from tests.conformance.messages import X, floats, predict, spec, strings, tensor
from tests.conformance.replies import not_a_number, predicted, toy

_INVALID = grpc.StatusCode.INVALID_ARGUMENT
_TWO = spec(signature="two")
_A, _B = floats(X[0]), floats(X[1])
_ROWS_0 = np.zeros((0, 4), np.float32)

_COUNT = "input size does not match signature: {} Sent extra: {{{}}}. Missing but required: {{{}}}."
_ALIAS = (
    "Signature input alias: {}(feed name: {}:0) not found in request and no default value provided. "
    "Inputs expected to be in the request {{{}}}, or default input alias set: "
)
_RANK = re.compile(r"In\[0\] (ndims must be >= 2|and In\[1\] has different ndims: )")
"""Of the graph's BatchMatMul or MatMul: which one runs is decided when the model is saved and optimised."""

_OTHER_DTYPES = {
    "double": tensor(tensors.DT_DOUBLE, double_val=[1.0]),
    "int32": tensor(tensors.DT_INT32, int_val=[1]),
    "uint8": tensor(tensors.DT_UINT8, int_val=[1]),
    "int16": tensor(tensors.DT_INT16, int_val=[1]),
    "int8": tensor(tensors.DT_INT8, int_val=[1]),
    "string": tensor(tensors.DT_STRING, string_val=[b"1"]),
    "complex64": tensor(tensors.DT_COMPLEX64, scomplex_val=[1.0, 0.0]),
    "int64": tensor(tensors.DT_INT64, int64_val=[1]),
    "bool": tensor(tensors.DT_BOOL, bool_val=[True]),
    "bfloat16": tensor(tensors.DT_BFLOAT16, half_val=[16256]),
    "uint16": tensor(tensors.DT_UINT16, int_val=[1]),
    "complex128": tensor(tensors.DT_COMPLEX128, dcomplex_val=[1.0, 0.0]),
    "half": tensor(tensors.DT_HALF, half_val=[15360]),
    "uint32": tensor(tensors.DT_UINT32, uint32_val=[1]),
    "uint64": tensor(tensors.DT_UINT64, uint64_val=[1]),
}

ROWS = (
    refused("inputs: none", predict({}), _INVALID, _COUNT.format("0!=1 len({}) != len({x}).", "", "x")),
    refused(
        "inputs: one of two",
        predict({"a": _A}, _TWO),
        _INVALID,
        _COUNT.format("1!=2 len({a}) != len({a,b}).", "", "b"),
    ),
    refused(
        "inputs: one too many",
        predict({"x": floats(), "y": floats()}),
        _INVALID,
        _COUNT.format("2!=1 len({x,y}) != len({x}).", "y", ""),
    ),
    refused(
        "inputs: two too many",
        predict({"z": floats(), "x": floats(), "y": floats()}),
        _INVALID,
        _COUNT.format("3!=1 len({x,y,z}) != len({x}).", "y,z", ""),
    ),
    refused("inputs: wrong name", predict({"y": floats()}), _INVALID, _ALIAS.format("x", "serving_default_x", "y")),
    refused(
        "inputs: one wrong name of two",
        predict({"a": _A, "c": _B}, _TWO),
        _INVALID,
        _ALIAS.format("b", "two_b", "a,c"),
    ),
    refused(
        "inputs: two wrong names, the server's process says which is named",
        predict({"c": _A, "d": _B}, _TWO),
        _INVALID,
        re.compile(r"Signature input alias: ([ab])\(feed name: two_\1:0\) not found in request .* \{c,d\}, "),
    ),
    *(
        refused(
            f"dtype: {name}",
            predict({"x": proto}),
            _INVALID,
            f"Expects arg[0] to be float but {name} is provided",
        )
        for name, proto in _OTHER_DTYPES.items()
    ),
    refused("dtype: DT_INVALID", predict({"x": tensor(tensors.DT_INVALID)}), _INVALID, "tensor parsing error: x"),
    refused(
        "dtype: 12345",
        predict({"x": tensors.TensorProto.FromString(b"\x08\xb9\x60")}),
        _INVALID,
        "tensor parsing error: x",
    ),
    refused("dtype: empty TensorProto", predict({"x": tensors.TensorProto()}), _INVALID, "tensor parsing error: x"),
    refused(
        "shape: (2, 3)",
        predict({"x": floats(np.ones((2, 3), np.float32))}),
        _INVALID,
        re.compile(r"Matrix size-incompatible: In\[0\]: \[2,3\], In\[1\]: \[4,3\]"),
    ),
    refused("shape: (4,)", predict({"x": floats(np.ones(4, np.float32))}), _INVALID, _RANK),
    refused("shape: (1, 2, 4)", predict({"x": floats(np.ones((1, 2, 4), np.float32))}), _INVALID, _RANK),
    refused("shape: scalar", predict({"x": floats(np.ones((), np.float32))}), _INVALID, _RANK),
    Case("shape: no rows", PREDICT, predict({"x": floats(_ROWS_0)}), reply=predicted(toy(_ROWS_0))),
    Case(
        "values: NaN",
        PREDICT,
        predict({"x": floats(np.full((2, 4), np.nan, np.float32))}, output_filter=["logits"]),
        reply=not_a_number("logits"),
    ),
    Case(
        "values: infinity",
        PREDICT,
        predict({"x": floats(np.array([[np.inf, -np.inf, np.inf, -np.inf]], np.float32))}, output_filter=["logits"]),
        reply=not_a_number("logits"),
    ),
    refused(
        "order: number of inputs before output_filter",
        predict({}, output_filter=["nope"]),
        _INVALID,
        _COUNT.format("0!=1 len({}) != len({x}).", "", "x"),
    ),
    refused(
        "order: names of inputs before output_filter",
        predict({"y": floats()}, output_filter=["nope"]),
        _INVALID,
        _ALIAS.format("x", "serving_default_x", "y"),
    ),
    refused(
        "order: output_filter before dtype",
        predict({"x": strings(b"a")}, output_filter=["nope"]),
        _INVALID,
        "output tensor alias not found in signature: nope Outputs expected to be in the set {cls,logits,probs}.",
    ),
    refused(
        "batching: more rows than a batch holds",
        predict({"x": tensor(shape=(100_000, 4))}),
        _INVALID,
        "Task size 100000 is larger than maximum input batch size 1000",
        flag="enable_batching",
    ),
    refused(
        "batching: scalar",
        predict({"x": floats(np.ones((), np.float32))}),
        _INVALID,
        "Batching Run() input tensors must have at least one dimension",
        flag="enable_batching",
    ),
)
