"""Class, margin and entropy of each row, from a reply of any method."""

from typing import Any
from zlib import crc32

import numpy as np
from google.protobuf.message import DecodeError
from numpy.typing import NDArray

from defenses.output import is_float
from detectors.features import summarise, unknown
from detectors.observation import NO_CLASS, Answers
from protos import serving_pb2 as serving
from protos.tensor_pb2 import DT_DOUBLE, DT_FLOAT
from proxy.codec import PREDICT
from proxy.config.detection import Detection
from proxy.protection.replies import CLASSIFY_OUTPUT, OpenReply, Scores, Tensor
from proxy.tensors import UndecodableTensorError, to_array

FEW_SCORES, FILLED_TIMES = 65_536, 16
"""Where rows have different numbers of classes, what is missing is filled: up to FEW_SCORES, or so many times the
scores that came. Else one long row among many empty ones would take any amount of memory."""


def answers(path: str, body: bytes, rows: int, settings: Detection) -> Answers | None:
    """What the model said to each row; None if the reply cannot be read."""
    try:
        reply = OpenReply(path, body)
        for name in _names(reply, settings):
            for part in reply.parts(name):
                found = _summary(part, rows, settings)
                if found is not None:
                    return found
    except (DecodeError, UndecodableTensorError):
        return None
    return unknown(rows)


def distribution(path: str, body: bytes, rows: int, settings: Detection) -> NDArray[Any] | None:
    """The scores (rows, classes) of a Predict reply that most likely say the class; None if that takes a closer look.

    If none of its rows adds up to 1, and no output was named, another one may be meant: `answers` looks for it.
    """
    if path != PREDICT:
        return None
    try:
        outputs = serving.PredictResponse.FromString(body).outputs
        name = settings.output or min(outputs, key=_likely, default="")
        if name in outputs and outputs[name].dtype in (DT_FLOAT, DT_DOUBLE):
            values = to_array(outputs[name])
            if values.ndim == 2 and len(values) == rows:
                return _softmax(values) if settings.semantics == "logits" else values
    except (DecodeError, UndecodableTensorError):
        pass
    return None


def _likely(name: str) -> tuple[bool, str]:
    """Orders the outputs: the likeliest to be a distribution over classes first."""
    return "prob" not in name, name


def _names(reply: OpenReply, settings: Detection) -> list[str]:
    if settings.output is not None:
        return [settings.output]
    if reply.method == "Predict":
        return sorted(reply.message.outputs, key=_likely)
    return [CLASSIFY_OUTPUT]


def _summary(part: Any, rows: int, settings: Detection) -> Answers | None:
    """None for what is no distribution over classes of so many rows."""
    if isinstance(part, Scores):
        return _labelled(part, rows)
    if not isinstance(part, Tensor):
        return None
    values = part.sample()
    if values.ndim != 2 or len(values) != rows or not is_float(values.dtype):
        return None
    if settings.semantics == "logits":
        values = _softmax(values)
    found = summarise(values)
    proper = found.classes != NO_CLASS
    return found if settings.output is not None or proper.any() else None


def _labelled(part: Scores, rows: int) -> Answers | None:
    """Labels may come in any order, so that the label, as a number, is the class; without labels, the place is."""
    lists = part.lists()
    width = max([2, *map(len, lists)])  # a single class is a class, and no probability of yes
    if len(lists) != rows or rows * width > max(FEW_SCORES, FILLED_TIMES * sum(map(len, lists))):
        return None
    found = summarise(np.array([row + [0.0] * (width - len(row)) for row in lists]).reshape(len(lists), width))
    classes = found.classes.copy()
    for at, row in enumerate(part.result.classifications):
        label = row.classes[int(classes[at])].label if classes[at] != NO_CLASS else ""
        if label:
            classes[at] = crc32(label.encode()) >> 1
    return Answers(classes, found.margins, found.entropies)


def _softmax(values: NDArray[Any]) -> NDArray[np.float64]:
    raised = np.exp(values.astype(np.float64) - values.max(axis=1, keepdims=True))
    shares: NDArray[np.float64] = raised / raised.sum(axis=1, keepdims=True)
    return shares
