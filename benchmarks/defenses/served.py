"""The model behind a running proxy, as a caller meets it."""

from types import TracebackType
from typing import NamedTuple

import grpc
import numpy as np
from numpy.typing import NDArray

from protos import serving_pb2 as serving
from protos import tensor_pb2 as tensor
from proxy.tensors import to_array

Images = NDArray[np.float32]
"""(rows, H, W, 1) in [0, 1]."""
Labels = NDArray[np.int64]
"""(rows,) classes."""

PREDICT = "/tensorflow.serving.PredictionService/Predict"
CALL_SECONDS = 60.0
BATCH = 256
"""Rows a call, at most."""


class Answers(NamedTuple):
    """Attributes: logits and probabilities, float32 (rows, classes)."""

    logits: NDArray[np.float32]
    probabilities: NDArray[np.float32]

    @property
    def classes(self) -> Labels:
        """What the model says: (rows,)."""
        classes: Labels = self.logits.argmax(axis=1)
        return classes


class Caller:
    """Asks a model through one gRPC channel and counts the rows. Close it, or use it as a context manager.

    Args:
        address: host:port of a proxy.
        model: the served model's name.
    """

    def __init__(self, address: str, model: str) -> None:
        self.rows = 0
        self._model = model
        self._channel = grpc.insecure_channel(address)
        self._predict = self._channel.unary_unary(PREDICT)

    def __enter__(self) -> "Caller":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._channel.close()

    def __call__(self, images: Images) -> Answers:
        """The model's answers, as many calls as needed."""
        parts = [self._answers(images[at : at + BATCH]) for at in range(0, len(images), BATCH)]
        return Answers(*(np.concatenate(part) for part in zip(*parts, strict=True)))

    def request(self, images: Images) -> bytes:
        """A serialized PredictRequest."""
        request = serving.PredictRequest(model_spec=serving.ModelSpec(name=self._model))
        values = np.ascontiguousarray(images, dtype="<f4")
        request.inputs["image"].dtype = tensor.DT_FLOAT
        request.inputs["image"].tensor_content = values.tobytes()
        for size in values.shape:
            request.inputs["image"].tensor_shape.dim.add(size=size)
        return request.SerializeToString()

    def send(self, request: bytes) -> bytes:
        """The reply to a serialized request, as it came."""
        reply: bytes = self._predict(request, timeout=CALL_SECONDS)
        return reply

    def _answers(self, images: Images) -> Answers:
        self.rows += len(images)
        outputs = serving.PredictResponse.FromString(self.send(self.request(images))).outputs
        return Answers(to_array(outputs["logits"]), to_array(outputs["probabilities"]))


def right(caller: Caller, images: Images, labels: Labels) -> NDArray[np.bool_]:
    """Which rows the served model classifies rightly, by one answer a row."""
    judged: NDArray[np.bool_] = caller(images).classes == labels
    return judged
