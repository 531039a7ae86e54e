"""Predict: how a tensor may be written. TensorFlow's own parsing decides what is read, not the client's."""

import grpc
import numpy as np

from protos import tensor_pb2 as tensors
from tests.conformance.case import PREDICT, Case, refused
from tests.conformance.messages import X, content, floats, predict, spec, tensor
from tests.conformance.replies import predicted, text, toy

_INVALID = grpc.StatusCode.INVALID_ARGUMENT
_TWO = spec(signature="two")
_ZEROS = np.zeros((2, 4), np.float32)


def _read_as(name: str, proto: tensors.TensorProto, x: np.ndarray[tuple[int, ...], np.dtype[np.float32]]) -> Case:
    return Case(f"encoding: {name}", PREDICT, predict({"x": proto}), reply=predicted(toy(x)))


def _unreadable(name: str, proto: tensors.TensorProto) -> Case:
    return refused(f"encoding: {name}", predict({"x": proto}), _INVALID, "tensor parsing error: x")


ROWS = (
    _read_as("float_val", floats(), X),
    _read_as("tensor_content", content(), X),
    _read_as("tensor_content wins over float_val", content(float_val=[9.0] * 8), X),
    _read_as("one value is repeated", tensor(float_val=[3.0]), np.full((2, 4), 3, np.float32)),
    _read_as(
        "the last of fewer values is repeated",
        tensor(float_val=[1.0, 2.0, 3.0]),
        np.array([[1, 2, 3, 3], [3, 3, 3, 3]], np.float32),
    ),
    _read_as("no values are zeros", tensor(), _ZEROS),
    _read_as("more values than the shape holds", tensor(float_val=[*X.ravel().tolist(), 9.0, 9.0]), X),
    _read_as("values in another dtype's field are zeros", tensor(int_val=[1, 2, 3, 4, 5, 6, 7, 8]), _ZEROS),
    _read_as("version_number is not looked at", floats(version_number=7), X),
    Case(
        "encoding: scalars where the graph takes any shape",
        PREDICT,
        predict({"a": tensor(shape=None, float_val=[1.5]), "b": tensor(shape=None, float_val=[2.0])}, _TWO),
        reply=predicted({"sum": np.array(3.5, np.float32)}, signature="two"),
    ),
    Case(
        "encoding: unknown_rank is a scalar",
        PREDICT,
        predict(
            {
                "a": tensors.TensorProto(
                    dtype=tensors.DT_FLOAT,
                    tensor_shape=tensors.TensorShapeProto(unknown_rank=True),
                    float_val=[1.5],
                ),
                "b": floats(np.array([1.0, 2.0], np.float32)),
            },
            _TWO,
        ),
        reply=predicted({"sum": np.array([2.5, 3.5], np.float32)}, signature="two"),
    ),
    Case(
        "encoding: strings in tensor_content, lengths first",
        PREDICT,
        predict(
            {"s": tensor(tensors.DT_STRING, (2,), tensor_content=b"\x02\x01abc")},
            spec(signature="strs"),
        ),
        reply=predicted({"out": text(b"<ab>", b"<c>")}, signature="strs"),
    ),
    _unreadable("tensor_content too short", tensor(tensor_content=X.tobytes()[:-4])),
    _unreadable("tensor_content too long", tensor(tensor_content=X.tobytes() + bytes(4))),
    _unreadable("tensor_content cut inside a value", tensor(tensor_content=X.tobytes()[:-1])),
    _unreadable("negative dimension", tensor(shape=(-1, 4), float_val=[1.0])),
    _unreadable("dimensions overflow", tensor(shape=(2**40, 2**40), float_val=[1.0])),
    refused(
        "order: tensors are parsed before output_filter",
        predict({"x": tensor(tensor_content=b"\x00")}, output_filter=["nope"]),
        _INVALID,
        "tensor parsing error: x",
    ),
    Case(
        "encoding: replies in tensor_content where the server was told so",
        PREDICT,
        predict(),
        reply=predicted(toy(X), in_content=True),
        flag="enable_serialization_as_tensor_content",
    ),
)
