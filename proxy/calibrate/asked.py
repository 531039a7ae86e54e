"""The served model, as a calibration asks it: with rows as it takes them, for classes, margins and entropies."""

from typing import Any

import grpc
import numpy as np
from numpy.typing import NDArray

from detectors.observation import Answers
from protos import serving_pb2 as serving
from protos.tensor_pb2 import DataType, TensorProto
from proxy.config.detection import Detection
from proxy.detection.answers import answers
from proxy.signatures import DEFAULT, GET_MODEL_METADATA, Signature, metadata_request, signatures
from proxy.tensors import NUMPY_DTYPES, set_array

PREDICT = "/tensorflow.serving.PredictionService/Predict"
SECONDS = 60.0
ROWS = 256
"""Asked together."""


class SampleError(Exception):
    """The sample cannot be used; `str()` is what the operator reads."""


class DataError(Exception):
    """The rows, or what was said of them, cannot be used; `str()` is what the operator reads."""


class Model:
    """A served model through one channel; close it.

    Args:
        target: host:port of the model server, or of a proxy.
        name: the model's.
        input_name: that rows are for; None: its only one.
        settings: which output says the class.

    Attributes:
        input: that rows are for.

    Raises:
        SampleError: it does not say what it takes.
        DataError: it has no such input or output.
    """

    def __init__(self, target: str, name: str, input_name: str | None, settings: Detection) -> None:
        self._name, self._settings = name, settings
        self._channel = grpc.insecure_channel(target)
        self._predict = self._channel.unary_unary(PREDICT)
        signature = self._signature()
        if input_name is None and len(signature.inputs) == 1:
            input_name = next(iter(signature.inputs))
        if input_name is None or input_name not in signature.inputs:
            mistake = "is needed" if input_name is None else f"there is no {input_name!r}"
            raise DataError(f"--input: {mistake}; {name} takes {', '.join(sorted(signature.inputs)) or 'nothing'}")
        if settings.output is not None and settings.output not in signature.outputs:
            given = ", ".join(sorted(signature.outputs)) or "nothing"
            raise DataError(f"--output: there is no {settings.output!r}; {name} gives {given}")
        self.input = input_name
        self._spec = signature.inputs[input_name]

    def close(self) -> None:
        """Ends the connection."""
        self._channel.close()

    def taken(self, rows: NDArray[Any]) -> NDArray[Any]:
        """Rows in the dtype that the model takes.

        A wrong shape is told here, since TensorFlow may not survive it.

        Raises:
            DataError: it takes others.
        """
        dtype = NUMPY_DTYPES.get(self._spec.dtype)
        kind = DataType.Name(self._spec.dtype) if self._spec.dtype in DataType.values() else str(self._spec.dtype)
        wants = f"{self._name} takes {self.input} as {kind.removeprefix('DT_').lower()} of shape {self._shape()}"
        if not self._spec.admits(rows.shape):
            raise DataError(f"--data: rows of shape {rows.shape} do not fit; {wants}")
        if dtype is None or (dtype.kind == "O") != (rows.dtype.kind == "O"):
            raise DataError(f"--data: rows are {'texts' if rows.dtype.kind == 'O' else rows.dtype.name}; {wants}")
        if dtype.kind in "iu" and rows.dtype.kind == "f" and not np.array_equal(rows, np.rint(rows)):
            raise DataError(f"--data: rows are no whole numbers; {wants}")
        return rows.astype(dtype, copy=False)

    def __call__(self, rows: NDArray[Any]) -> Answers:
        """What it says to rows, (n, ...) as `taken` gives them.

        Raises:
            SampleError: it does not answer, or with nothing that can be read.
        """
        parts = [self._ask(rows[at : at + ROWS]) for at in range(0, len(rows), ROWS)]
        return Answers(
            np.concatenate([part.classes for part in parts]),
            np.concatenate([part.margins for part in parts]),
            np.concatenate([part.entropies for part in parts]),
        )

    def _ask(self, rows: NDArray[Any]) -> Answers:
        request = serving.PredictRequest(model_spec=serving.ModelSpec(name=self._name))
        proto = request.inputs[self.input]
        proto.MergeFrom(TensorProto(dtype=DataType.Name(self._spec.dtype), tensor_content=b"\0"))
        set_array(proto, rows)
        try:
            reply: bytes = self._predict(request.SerializeToString(), timeout=SECONDS)
        except grpc.RpcError as error:
            raise _silent(error) from None
        said = answers(PREDICT, reply, len(rows), self._settings)
        if said is None:
            raise SampleError("the model's answer cannot be read")
        return said

    def _signature(self) -> Signature:
        ask = self._channel.unary_unary(GET_MODEL_METADATA)
        try:
            found = signatures(ask(metadata_request(self._name), timeout=SECONDS))
        except grpc.RpcError as error:
            raise _silent(error) from None
        except ValueError as error:
            raise SampleError(str(error)) from None
        if DEFAULT not in found:
            raise SampleError(f"{self._name} has no signature {DEFAULT}; it has {', '.join(sorted(found)) or 'none'}")
        return found[DEFAULT]

    def _shape(self) -> str:
        sizes = self._spec.shape
        return "unknown" if sizes is None else f"({', '.join('any' if size is None else str(size) for size in sizes)})"


def _silent(error: grpc.RpcError) -> SampleError:
    return SampleError(f"--target: the model does not answer: {error.code().name}: {error.details()}")
