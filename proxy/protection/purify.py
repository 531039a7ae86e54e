"""The purifier: another served model, a denoiser, asked before the one that the caller asked."""

import math
import time
from collections.abc import Callable
from typing import Any

import grpc
import numpy as np
from google.protobuf.message import DecodeError
from numpy.typing import NDArray

from defenses.input import InvalidInputError
from protos import serving_pb2 as serving
from protos import tensor_pb2 as tensor
from proxy.config.protection import Purifier
from proxy.errors import Rejection
from proxy.tensors import UndecodableTensorError, set_array, to_array
from proxy.upstream import Reply, UpstreamPool

Array = NDArray[Any]
PREDICT = "/tensorflow.serving.PredictionService/Predict"
_AWAY = "the request cannot be cleaned at present; try again later"
_TYPES = {
    "float16": tensor.DT_HALF,
    "float32": tensor.DT_FLOAT,
    "float64": tensor.DT_DOUBLE,
    "uint8": tensor.DT_UINT8,
    "int8": tensor.DT_INT8,
    "int16": tensor.DT_INT16,
    "uint16": tensor.DT_UINT16,
    "int32": tensor.DT_INT32,
    "int64": tensor.DT_INT64,
    "uint32": tensor.DT_UINT32,
    "uint64": tensor.DT_UINT64,
    "object": tensor.DT_STRING,
}


class PurifierCall:
    """Asks the purifying model about rows.

    Args:
        settings: which model, and what to do without it.
        upstream: where it is served.
        shape: of one row as the model takes it; None: as the rows come.
        range: of the values; what comes back is clipped to it.
        told: is told the outcome of each call: `ok`, `passed` or `refused`.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        settings: Purifier,
        upstream: UpstreamPool,
        shape: tuple[int, ...] | None,
        range: tuple[float, float] | None,  # noqa: A002  # the configuration's word
        told: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._upstream = upstream
        self._shape = shape
        self._range = range
        self._told = told
        self._clock = clock

    async def __call__(self, values: Array, deadline: float) -> Array | None:
        """The rows as the model gives them back, of the same shape and dtype; None if they may pass without it.

        Raises:
            Rejection: UNAVAILABLE, if it failed and rows may not pass without it.
            InvalidInputError: the rows are nothing that it could take.
        """
        by = min(deadline, self._clock() + self._settings.timeout)
        reply = await self._upstream.unary(PREDICT, self._request(values), (), by)
        purified = self._rows(reply, values)
        if purified is not None:
            self._told("ok")
        elif self._settings.on_failure == "pass":
            self._told("passed")
        else:
            self._told("refused")
            raise Rejection(grpc.StatusCode.UNAVAILABLE, _AWAY, reason="purifier")
        return purified

    def _request(self, values: Array) -> bytes:
        settings = self._settings
        if values.ndim == 0:
            raise InvalidInputError("a scalar has no rows; send a batch, rows first")
        if values.dtype.name not in _TYPES:
            raise InvalidInputError(f"{values.dtype.name} cannot be cleaned; send the dtype of the model's signature")
        if self._shape is not None and math.prod(values.shape[1:]) != math.prod(self._shape):
            wanted, got = math.prod(self._shape), math.prod(values.shape[1:])
            raise InvalidInputError(f"a row has {got} values; {wanted} are expected, as {list(self._shape)}")
        message = serving.PredictRequest(output_filter=[settings.gives])
        message.model_spec.name, message.model_spec.signature_name = settings.model, settings.signature
        proto = message.inputs[settings.takes]
        proto.dtype = _TYPES[values.dtype.name]
        proto.tensor_content = b"\0"  # as content, not as typed fields
        set_array(proto, values if self._shape is None else values.reshape(-1, *self._shape))
        raw: bytes = message.SerializeToString()
        return raw

    def _rows(self, reply: Reply, values: Array) -> Array | None:
        if reply.code is not grpc.StatusCode.OK:
            return None
        try:
            outputs = serving.PredictResponse.FromString(reply.body).outputs
            given = to_array(outputs[self._settings.gives])
        except (DecodeError, UndecodableTensorError):
            return None
        if given.size != values.size or given.dtype != values.dtype or given.shape[:1] != values.shape[:1]:
            return None
        if given.dtype.kind == "f" and not np.isfinite(given).all():
            return None
        if self._range is not None and given.dtype != object:
            given = np.clip(given, *self._range).astype(given.dtype)
        return given.reshape(values.shape)
