"""A reply opened for reading and changing its outputs, whatever method it answers.

An *output* is what a rule names: a Predict output, `scores` of a classification, `outputs` of a regression (the names
that such signatures give to them: saved_model/signature_constants.h).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from protos import serving_pb2 as serving
from protos.tensor_pb2 import DT_BFLOAT16, TensorProto
from proxy.tensors import set_array, to_array

Array = NDArray[Any]

CLASSIFY_OUTPUT = "scores"
REGRESS_OUTPUT = "outputs"
EVERY = "*"
"""In place of an output's name: every output that has no rule of its own."""

_TYPES: dict[str, Callable[[], Any]] = {
    "Predict": serving.PredictResponse,
    "Classify": serving.ClassificationResponse,
    "Regress": serving.RegressionResponse,
    "MultiInference": serving.MultiInferenceResponse,
}


@dataclass(slots=True)
class Tensor:
    """A Predict output."""

    proto: TensorProto

    def sample(self) -> Array:
        """(rows, ...).

        Raises:
            UndecodableTensorError: it cannot be read.
        """
        values = to_array(self.proto)
        if self.proto.dtype != DT_BFLOAT16:
            return values
        import ml_dtypes  # few models need it, and the start is quicker without

        return values.astype(ml_dtypes.bfloat16)

    def rows(self) -> int:
        """Sizes of the first axis; 1 for a scalar."""
        dims = self.proto.tensor_shape.dim
        return dims[0].size if dims else 1

    def replace(self, values: Array) -> None:
        """Puts other values of the same shape and dtype in their place."""
        set_array(self.proto, values.astype(np.float32) if self.proto.dtype == DT_BFLOAT16 else values)


@dataclass(slots=True)
class Scores:
    """The scores of a classification: a list of classes a row."""

    result: serving.ClassificationResult

    def lists(self) -> list[list[float]]:
        """One list of scores a row."""
        return [[each.score for each in row.classes] for row in self.result.classifications]

    def sample(self) -> Array:
        """(rows, classes) float32: those rows that are as long as the first."""
        lists = self.lists()
        alike = [row for row in lists if len(row) == len(lists[0])]
        return np.array(alike, dtype=np.float32).reshape(len(alike), len(lists[0]) if lists else 0)

    def rows(self) -> int:
        """Examples answered."""
        return len(self.result.classifications)

    def replace(self, lists: list[list[float]]) -> None:
        """Puts other scores in their place; labels and their order stay."""
        for row, scores in zip(self.result.classifications, lists, strict=True):
            for each, score in zip(row.classes, scores, strict=True):
                each.score = score


@dataclass(slots=True)
class Values:
    """The values of a regression: one a row."""

    result: serving.RegressionResult

    def sample(self) -> Array:
        """(rows,) float32."""
        return np.array([row.value for row in self.result.regressions], dtype=np.float32)

    def rows(self) -> int:
        """Examples answered."""
        return len(self.result.regressions)

    def replace(self, values: Array) -> None:
        """Puts other values in their place."""
        for row, value in zip(self.result.regressions, values.tolist(), strict=True):
            row.value = value


class OpenReply:
    """One reply.

    Raises:
        DecodeError: the body is no valid message.
    """

    def __init__(self, path: str, body: bytes) -> None:
        self.method = path.rpartition("/")[2]
        self.message = _TYPES[self.method]()
        self.message.ParseFromString(body)

    @property
    def version(self) -> int:
        """Of the model that answered; 0 if the reply does not say."""
        spec = self.message.results[0] if self.method == "MultiInference" and self.message.results else self.message
        return int(spec.model_spec.version.value) if hasattr(spec, "model_spec") else 0

    def names(self, name: str) -> list[str]:
        """The outputs that a rule of this name is for: that one, or with EVERY all of a Predict or the usual others."""
        if name != EVERY:
            return [name]
        return sorted(self.message.outputs) if self.method == "Predict" else [CLASSIFY_OUTPUT, REGRESS_OUTPUT]

    def parts(self, name: str) -> Iterator[Tensor | Scores | Values]:
        """Wherever the reply holds the output of this name."""
        if self.method == "Predict":
            if name in self.message.outputs:
                yield Tensor(self.message.outputs[name])
            return
        for result in self.results():
            if name == CLASSIFY_OUTPUT and isinstance(result, serving.ClassificationResult):
                yield Scores(result)
            elif name == REGRESS_OUTPUT and isinstance(result, serving.RegressionResult):
                yield Values(result)

    def results(self) -> Iterator[serving.ClassificationResult | serving.RegressionResult]:
        """The results of Classify, Regress and MultiInference."""
        if self.method in ("Classify", "Regress"):
            yield self.message.result
        elif self.method == "MultiInference":
            for each in self.message.results:
                kind = each.WhichOneof("result")
                if kind is not None:
                    yield getattr(each, kind)

    def body(self) -> bytes:
        """The message, with all that was changed."""
        raw: bytes = self.message.SerializeToString()
        return raw
