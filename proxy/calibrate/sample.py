"""A sample data set as observations: its rows sent by simulated benign callers, answered by the model itself."""

import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import grpc
import numpy as np
from numpy.typing import NDArray

from detectors.features import Extractor, Scaling
from detectors.observation import Answers, Observation
from detectors.workloads import BenignCall, benign
from protos import serving_pb2 as serving
from protos.tensor_pb2 import DataType, TensorProto
from proxy.config.detection import Detection
from proxy.detection.answers import answers
from proxy.tensors import NUMPY_DTYPES, set_array

PREDICT = "/tensorflow.serving.PredictionService/Predict"
SECONDS = 60.0
ROWS = 256
"""Asked together."""
CLASSES_FROM = 10_000
"""Rows of a sample whose classes are asked first, for the callers that send few classes only."""


class SampleError(Exception):
    """The sample cannot be used; `str()` is what the operator reads."""


class DataError(Exception):
    """The file of rows cannot be used; `str()` is what the operator reads."""


def read(path: Path, key: str) -> NDArray[Any]:
    """Rows to send, (n, ...) numbers of any dtype or bytes: an .npy file, or the array `key` of an .npz file.

    Raises:
        DataError: there is no such array.
    """
    try:
        loaded = np.load(path, allow_pickle=False)
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise DataError(f"{path}: cannot be read as .npy or .npz: {error}") from None
    if not isinstance(loaded, np.ndarray):
        if key not in loaded:
            raise DataError(f"{path}: has no array {key!r}; it has {', '.join(loaded.files)}; name one with --key")
        loaded = loaded[key]
    if loaded.ndim < 2 or len(loaded) < 2:
        raise DataError(f"{path}: shape {loaded.shape} is not (rows, ...); send at least two rows")
    found: NDArray[Any] = loaded
    return found


class Model:
    """A served model, as a calibration asks it.

    Args:
        target: host:port of the model server, or of a proxy.
        name: the model's.
        input_name: of its one input.
        settings: which output says the class.
    """

    def __init__(self, target: str, name: str, input_name: str, settings: Detection) -> None:
        self._channel = grpc.insecure_channel(target)
        self._predict = self._channel.unary_unary(PREDICT)
        self._name = name
        self._input = input_name
        self._settings = settings

    def close(self) -> None:
        """Ends the connection."""
        self._channel.close()

    def __call__(self, rows: NDArray[Any]) -> Answers:
        """What it says to rows.

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
        _fill(request.inputs[self._input], rows)
        try:
            reply: bytes = self._predict(request.SerializeToString(), timeout=SECONDS)
        except grpc.RpcError as error:
            raise SampleError(f"the model does not answer: {error.code().name}: {error.details()}") from None
        said = answers(PREDICT, reply, len(rows), self._settings)
        if said is None:
            raise SampleError("the model's answer cannot be read")
        return said


def _fill(proto: TensorProto, rows: NDArray[Any]) -> None:
    """Rows as a TensorProto; float64, which is numpy's habit and hardly any model's, as float32."""
    if rows.dtype.kind == "S":
        rows = rows.astype(object)
    elif rows.dtype == np.float64:
        rows = rows.astype(np.float32)
    dtype = next((each for each, known in NUMPY_DTYPES.items() if known == rows.dtype), None)
    if dtype is None:
        raise SampleError(f"rows of type {rows.dtype.name} cannot be sent; convert them to what the model takes")
    proto.MergeFrom(TensorProto(dtype=DataType.Name(dtype)))
    for size in rows.shape:
        proto.tensor_shape.dim.add(size=size)
    set_array(proto, rows)


def observations(
    rows: NDArray[Any], model: Model, input_name: str, salt: bytes, callers: int, rng: np.random.Generator
) -> tuple[Sequence[Observation], Mapping[str, Scaling]]:
    """An hour of simulated benign calls with these rows, and the scaling of its columns.

    Raises:
        SampleError: the model does not answer.
    """
    classes = model(rows[:CLASSES_FROM]).classes
    calls = benign(rows[:CLASSES_FROM], classes.astype(np.int64), callers, rng, "sample")
    columns = Extractor(salt).columns(rows)
    scaling = {} if columns is None else {input_name: Scaling.of(columns)}
    extractor = Extractor(salt, scaling)
    from tqdm import tqdm  # an extra

    progress = tqdm(total=len(calls), desc="asking the model", unit="call", disable=None)
    made = [one for part in _parts(calls) for one in _observed(part, model, input_name, extractor, progress)]
    progress.close()
    return made, scaling


def _parts(calls: Sequence[BenignCall]) -> Iterator[Sequence[BenignCall]]:
    part: list[BenignCall] = []
    rows = 0
    for call in calls:
        part.append(call)
        rows += len(call.rows)
        if rows >= ROWS:
            yield part
            part, rows = [], 0
    if part:
        yield part


def _observed(
    calls: Sequence[BenignCall], model: Model, input_name: str, extractor: Extractor, progress: Any
) -> Iterator[Observation]:
    """Asked together, observed one by one."""
    said = model(np.concatenate([call.rows for call in calls]))
    at = 0
    for call in calls:
        part = slice(at, at + len(call.rows))
        at = part.stop
        own = Answers(said.classes[part], said.margins[part], said.entropies[part])
        features = extractor({input_name: call.rows}, len(call.rows))
        yield Observation(call.time, call.caller, (f"network:{call.caller}",), "", "", features, own)
        progress.update()
