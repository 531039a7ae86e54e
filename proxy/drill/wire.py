"""A served model as its callers meet it: rows in [0, 1] go out as the model takes them, probabilities come back."""

from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import grpc
import numpy as np
from google.protobuf.message import DecodeError
from numpy.typing import NDArray

from detectors.workloads import image_span
from protos import serving_pb2 as serving
from protos.tensor_pb2 import DataType, TensorProto
from proxy.drill.attacks.contract import Probabilities, RefusedError, Rows
from proxy.signatures import DEFAULT, GET_MODEL_METADATA, Signature, metadata_request, signatures
from proxy.tensors import NUMPY_DTYPES, UndecodableTensorError, set_array, to_array

PREDICT = "/tensorflow.serving.PredictionService/Predict"
SECONDS = 60.0
ROWS = 256
"""Asked together where nobody counts calls."""
TRIES = 3
"""Of a call that the target was not able to answer."""
REFUSALS = frozenset(
    {
        grpc.StatusCode.PERMISSION_DENIED,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.StatusCode.UNAUTHENTICATED,
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.FAILED_PRECONDITION,
    }
)
"""What an attacker takes for a refusal of this call; anything else is trouble, and ends the drill."""

Metadata = Sequence[tuple[str, str]]


class DrillError(Exception):
    """The drill cannot go on; `str()` is what the operator reads."""


class UsageError(DrillError):
    """What was asked for is wrong; `str()` says what, and the remedy."""


@dataclass(frozen=True)
class Scale:
    """From the model's values to [0, 1] and back.

    Attributes:
        low, high: (...) of a row, or one number each: what becomes 0 and 1.
        shape: of a row as the model takes it.
    """

    low: NDArray[np.float64]
    high: NDArray[np.float64]
    shape: tuple[int, ...]

    @classmethod
    def of(cls, values: NDArray[Any], bounds: tuple[float, float] | None = None) -> "Scale":
        """Images share one range, [0, 1] or [0, 255] if they fit; each column of a table has its own.

        Args:
            values: (n, ...) as the model takes them.
            bounds: known beforehand.
        """
        if bounds is None and values.ndim == 2:
            return cls(values.min(axis=0).astype(float), values.max(axis=0).astype(float), values.shape[1:])
        if bounds is None:
            bounds = image_span(values)
        return cls(np.array(float(bounds[0])), np.array(float(bounds[1])), values.shape[1:])

    def rows(self, values: NDArray[Any]) -> Rows:
        """(n, ...) in [0, 1]; images get a channel axis if they have none."""
        width = np.where(self.high > self.low, self.high - self.low, 1)
        scaled = ((values - self.low) / width).clip(0, 1).astype(np.float32)
        return scaled[..., np.newaxis] if len(self.shape) == 2 else scaled

    def values(self, rows: Rows, dtype: np.dtype[Any]) -> NDArray[Any]:
        """(n, *shape) as the model takes them; rounded where it takes whole numbers."""
        values = self.low + rows.reshape(len(rows), *self.shape).astype(np.float64) * (self.high - self.low)
        return np.asarray(np.rint(values) if dtype.kind in "iu" else values).astype(dtype)


class Model:
    """One served model, through one channel. Close it, or use it as a context manager.

    Args:
        address: host:port.
        name: the model's.
        scale: between its values and the attackers' rows.
        input_name: of its one input; found by itself if there is no other.
        output: the one that is read; absent: the first whose rows are distributions.
        logits: the output holds logits.
        metadata: sent with calls that name no account.
    """

    def __init__(
        self,
        address: str,
        name: str,
        scale: Scale,
        input_name: str | None = None,
        output: str | None = None,
        logits: bool = False,
        metadata: Metadata = (),
    ) -> None:
        self.address, self.name, self._scale, self._output, self._logits = address, name, scale, output, logits
        self._metadata = metadata
        self._channel = grpc.insecure_channel(address, [("grpc.use_local_subchannel_pool", 1)])
        self._predict = self._channel.unary_unary(PREDICT)
        signature = self._signature(metadata)
        self.input = self._input_of(signature, input_name)
        self._number = signature.inputs[self.input].dtype
        takes = signature.inputs[self.input].shape
        if takes is not None and not signature.inputs[self.input].admits(
            (takes[0] or 0, *scale.shape) if takes else ()
        ):
            sizes = ", ".join("any" if size is None else str(size) for size in takes)
            raise UsageError(f"--data: rows of shape {scale.shape} do not fit; {name} takes {self.input} of ({sizes})")
        if NUMPY_DTYPES.get(self._number, np.dtype(object)).kind not in "fiu":
            raise UsageError(f"{name}: its input {self.input} takes no numbers; only images and tables can be drilled")
        self._dtype = NUMPY_DTYPES[self._number]

    def __enter__(self) -> "Model":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._channel.close()

    def __call__(self, rows: Rows) -> Probabilities:
        """The answers (n, classes), in as many calls as needed. Raises RefusedError and DrillError."""
        parts = [self.ask(rows[at : at + ROWS], self._metadata) for at in range(0, len(rows), ROWS)]
        return np.concatenate(parts)

    def ask(self, rows: Rows, metadata: Metadata) -> Probabilities:
        """The answers of one call.

        Raises:
            RefusedError: it was refused.
            DrillError: there is no answer, or none that can be read.
        """
        return self.read(self.send(self.request(rows), metadata), len(rows))

    def request(self, rows: Rows) -> bytes:
        """A serialized PredictRequest."""
        request = serving.PredictRequest(model_spec=serving.ModelSpec(name=self.name))
        values = self.values(rows)
        proto = request.inputs[self.input]
        proto.MergeFrom(TensorProto(dtype=DataType.Name(self._number)))
        for size in values.shape:
            proto.tensor_shape.dim.add(size=size)
        proto.tensor_content = b"\0"  # and not one field a value
        set_array(proto, values)
        return request.SerializeToString()

    def values(self, rows: Rows) -> NDArray[Any]:
        """Rows as the model takes them."""
        return self._scale.values(rows, self._dtype)

    def send(self, request: bytes, metadata: Metadata) -> bytes:
        """The reply as it came. Raises RefusedError and DrillError."""
        for left in reversed(range(TRIES)):
            try:
                reply: bytes = self._predict(request, timeout=SECONDS, metadata=tuple(metadata))
            except grpc.RpcError as error:
                if error.code() in REFUSALS:
                    raise RefusedError(f"{error.code().name}: {error.details()}") from None
                if not left:
                    raise DrillError(f"{self.address}: {error.code().name}: {error.details()}") from None
            else:
                return reply
        raise AssertionError("a try returns or raises")

    def read(self, reply: bytes, rows: int) -> Probabilities:
        """The probabilities (rows, classes) in a reply. Raises DrillError."""
        try:
            outputs = serving.PredictResponse.FromString(reply).outputs
            if self._output is None:
                self._output = _distribution({name: to_array(proto) for name, proto in outputs.items()}, rows)
            known = self._output is not None and self._output in outputs
            values = to_array(outputs[self._output or ""]) if known else np.zeros(0)
        except (DecodeError, UndecodableTensorError) as error:
            raise DrillError(f"{self.address}: the answer cannot be read: {error}") from None
        if values.ndim != 2 or len(values) != rows:
            raise UsageError(
                f"{self.address}: no output of {self.name} is a distribution over classes for each row; it has "
                f"{', '.join(sorted(outputs)) or 'none'}; name one with --output (and --logits, if it holds logits)"
            )
        return _softmax(values) if self._logits else np.asarray(values, np.float32)

    def _signature(self, metadata: Metadata) -> Signature:
        ask = self._channel.unary_unary(GET_MODEL_METADATA)
        try:
            found = signatures(ask(metadata_request(self.name), timeout=SECONDS, metadata=tuple(metadata)))
        except grpc.RpcError as error:
            raise DrillError(f"{self.address}: {error.code().name}: {error.details()}") from None
        except ValueError as error:
            raise DrillError(f"{self.address}: {error}") from None
        if DEFAULT not in found:
            raise DrillError(
                f"{self.address}: {self.name} has no signature {DEFAULT}; it has {', '.join(sorted(found))}"
            )
        return found[DEFAULT]

    def _input_of(self, signature: Signature, name: str | None) -> str:
        if name is None and len(signature.inputs) == 1:
            return next(iter(signature.inputs))
        if name is None or name not in signature.inputs:
            named = "--input is not given" if name is None else f"--input: there is no {name!r}"
            raise UsageError(f"{named}; {self.name} takes {', '.join(sorted(signature.inputs))}")
        return name


def _distribution(outputs: dict[str, NDArray[Any]], rows: int) -> str | None:
    """The name of the first output, those named like probabilities before others, whose rows sum to 1."""
    for name in sorted(outputs, key=lambda name: ("prob" not in name, name)):
        values = outputs[name]
        scores = values.ndim == 2 and len(values) == rows and values.shape[1] > 1 and values.dtype.kind == "f"
        if scores and (values >= 0).all() and np.allclose(values.sum(axis=1), 1, atol=0.02):
            return name
    return None


def _softmax(values: NDArray[Any]) -> Probabilities:
    raised = np.exp(values.astype(np.float64) - values.max(axis=1, keepdims=True))
    return np.asarray(raised / raised.sum(axis=1, keepdims=True), np.float32)
