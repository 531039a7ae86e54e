"""A sample data set as observations: its rows sent by simulated benign callers, answered by the model itself."""

import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detectors.features import Extractor, Scaling
from detectors.observation import Answers, Observation
from detectors.workloads import BenignCall, benign
from proxy.calibrate.asked import ROWS, DataError, Model
from proxy.calibrate.traffic import Traffic

CLASSES_FROM = 10_000
"""Rows of a sample whose classes are asked first, for the callers that send few classes only."""


def read(path: Path, key: str) -> NDArray[Any]:
    """Rows to send, (n, ...) numbers of any dtype, or texts as bytes: an .npy file, or the array `key` of an .npz file.

    Raises:
        DataError: there is no such array.
    """
    try:
        loaded = np.load(path, allow_pickle=False)
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from None
    except (ValueError, EOFError, zipfile.BadZipFile):
        raise DataError(f"{path}: is no array of numbers or texts that numpy.save or numpy.savez wrote") from None
    if not isinstance(loaded, np.ndarray):
        if key not in loaded:
            raise DataError(f"{path}: has no array {key!r}; it has {', '.join(loaded.files)}; name one with --key")
        loaded = loaded[key]
    if loaded.dtype.kind in "SU":
        loaded = np.char.encode(loaded, "utf-8").astype(object) if loaded.dtype.kind == "U" else loaded.astype(object)
    if loaded.ndim < (1 if loaded.dtype == object else 2) or len(loaded) < 2:
        raise DataError(f"{path}: shape {loaded.shape} is not (rows, ...); give at least two rows")
    if not loaded.size:
        raise DataError(f"{path}: its rows are empty, shape {loaded.shape}")
    found: NDArray[Any] = loaded
    return found


def simulated(rows: NDArray[Any], model: Model, salt: bytes, callers: int, rng: np.random.Generator) -> Traffic:
    """Simulated benign calls with these rows.

    Args:
        rows: (n, ...) as `read` gives them.
        model: that answers them.
        salt: of the features.
        callers: to simulate.
        rng: throws everything.

    Raises:
        DataError: the model does not take such rows.
        SampleError: it does not answer.
    """
    rows = model.taken(rows)
    classes = model(rows[:CLASSES_FROM]).classes
    calls = benign(rows[:CLASSES_FROM], classes.astype(np.int64), callers, rng, "sample")
    columns = Extractor(salt).columns(rows)
    scaling = {} if columns is None else {model.input: Scaling.of(columns)}
    extractor = Extractor(salt, scaling)
    from tqdm import tqdm  # an extra

    progress = tqdm(total=len(calls), desc="asking the model", unit="call", disable=None)
    made = [one for part in _parts(calls) for one in _observed(part, model, extractor, progress)]
    progress.close()
    return Traffic(made, scaling)


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


def _observed(calls: Sequence[BenignCall], model: Model, extractor: Extractor, progress: Any) -> Iterator[Observation]:
    """Asked together, observed one by one."""
    said = model(np.concatenate([call.rows for call in calls]))
    at = 0
    for call in calls:
        part = slice(at, at + len(call.rows))
        at = part.stop
        own = Answers(said.classes[part], said.margins[part], said.entropies[part])
        features = extractor({model.input: call.rows}, len(call.rows))
        yield Observation(call.time, call.caller, (f"network:{call.caller}",), "", "", features, own)
        progress.update()
