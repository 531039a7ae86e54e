"""Labelled rows, read whole into memory, so that every step of a run can find its own again."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from defenses.imported import made
from defenses.retraining.sources import Data, Feature, ImportedRows, NpyRows, NpzRows, RowsSource, TfrecordRows


class DataError(Exception):
    """Rows cannot be used; the message says which, and the remedy."""


@dataclass(frozen=True)
class Rows:
    """Labelled rows.

    Attributes:
        x: inputs, float32 (N, ...).
        y: classes, int32 (N,).
        files: what they were read from.
    """

    x: NDArray[np.float32]
    y: NDArray[np.int32]
    files: tuple[Path, ...] = ()

    def __len__(self) -> int:
        return len(self.y)

    def take(self, where: Any) -> "Rows":
        """Some of the rows, by index or slice."""
        return Rows(self.x[where], self.y[where], self.files)


@dataclass(frozen=True)
class Datasets:
    """The rows of a job; `test` is None if it names none, and so are `captured`, the rows of callers to judge by."""

    train: Rows
    validation: Rows
    test: Rows | None
    captured: Rows | None = None


@dataclass(frozen=True)
class Form:
    """What a model takes: shape of a row, number of classes, and the range of the inputs."""

    shape: tuple[int, ...]
    classes: int
    lower: float
    upper: float


def load(data: Data, form: Form, seed: int) -> Datasets:
    """Reads all rows of a job and checks that the model takes them.

    Raises:
        DataError: a file is missing, or rows are not of the form.
    """
    train = read(data.train, form, "data.train")
    if isinstance(data.validation, float):
        train, validation = _split(train, data.validation, seed)
    else:
        validation = read(data.validation, form, "data.validation")
    return Datasets(train, validation, None if data.test is None else read(data.test, form, "data.test"))


def read(source: RowsSource, form: Form, key: str) -> Rows:
    """Reads one source; `key` names it in messages.

    Raises:
        DataError: as `load`.
    """
    try:
        x, y, files = _READERS[type(source)](source)
    except OSError as error:
        raise DataError(f"{key}: {error.filename or ''} cannot be read: {error.strerror or error}") from None
    except (ValueError, KeyError, EOFError, BadZipFile, tf.errors.OpError) as error:
        raise DataError(f"{key}: {(str(error).splitlines() or [type(error).__name__])[0]}") from None
    x, y = np.asarray(x)[: source.rows], np.asarray(y)[: source.rows]
    if x.dtype.kind not in "fiub" or y.dtype.kind not in "iu":
        raise DataError(
            f"{key}: inputs of {x.dtype} and labels of {y.dtype}; convert them to numbers, and to the whole numbers of "
            "classes"
        )
    if len(x) != len(y) or y.ndim != 1 or not len(y):
        raise DataError(
            f"{key}: inputs {x.shape} and labels {y.shape}; (N, ...) and (N,), N at least 1, are expected: one class "
            "for each row, as a whole number"
        )
    return _checked(Rows(x.astype(np.float32) / np.float32(source.divide_by), y.astype(np.int32), files), form, key)


def _checked(rows: Rows, form: Form, key: str) -> Rows:
    shape = rows.x.shape[1:]
    if shape != form.shape:
        if (*shape, 1) != form.shape:
            raise DataError(
                f"{key}: rows of shape {shape}, and the model takes {form.shape}; reshape them, or name another model"
            )
        rows = Rows(rows.x[..., np.newaxis], rows.y, rows.files)
    if not np.isfinite(rows.x).all():
        odd = np.flatnonzero(~np.isfinite(rows.x.reshape(len(rows), -1)).all(axis=1))
        raise DataError(f"{key}: {len(odd)} rows have values that are not finite, the first is row {odd[0]}; mend them")
    low, high = float(rows.x.min()), float(rows.x.max())
    if low < form.lower or high > form.upper:
        raise DataError(
            f"{key}: inputs in [{low:g}, {high:g}] leave the model's range [{form.lower:g}, {form.upper:g}]; "
            "set divide_by, or model.range"
        )
    if rows.y.min() < 0 or rows.y.max() >= form.classes:
        raise DataError(
            f"{key}: classes {rows.y.min()} to {rows.y.max()}, and the model knows 0 to {form.classes - 1}; correct "
            "the labels, or name a model of as many classes"
        )
    return rows


def _split(rows: Rows, share: float, seed: int) -> tuple[Rows, Rows]:
    order = np.random.default_rng([seed, 0]).permutation(len(rows))
    count = round(share * len(rows))
    if not 0 < count < len(rows):
        raise DataError(f"data.validation: a share of {share} of {len(rows)} rows leaves nothing to check or train on")
    return rows.take(np.sort(order[count:])), rows.take(np.sort(order[:count]))


Read = tuple[Any, Any, tuple[Path, ...]]


def _npz(source: NpzRows) -> Read:
    with opened(source.file) as arrays:
        for name in (source.inputs, source.labels):
            if name not in arrays:
                raise ValueError(f"{source.file} has no array {name!r}; it has {', '.join(arrays)}")
        return arrays[source.inputs], arrays[source.labels], (source.file,)


def _npy(source: NpyRows) -> Read:
    inputs, labels = (_loaded(path) for path in (source.inputs, source.labels))
    if not (isinstance(inputs, np.ndarray) and isinstance(labels, np.ndarray)):
        raise ValueError(f"{source.inputs} or {source.labels} is no .npy file; for .npz files write `kind: npz`")
    return inputs, labels, (source.inputs, source.labels)


def opened(file: Path) -> Any:
    """The arrays of an .npz file, to be closed. Raises OSError, ValueError."""
    found = _loaded(file)
    if isinstance(found, np.ndarray):
        raise ValueError(f"{file} is no .npz file; for .npy files write `kind: npy`, with `inputs` and `labels`")
    return found


def _loaded(path: Path) -> Any:
    try:
        return np.load(path, allow_pickle=False)
    except (ValueError, EOFError, BadZipFile):
        raise ValueError(f"{path} is no file of arrays as numpy.save and numpy.savez write them, unpickled") from None


def _tfrecord(source: TfrecordRows) -> Read:
    files = [Path(name) for pattern in source.files for name in sorted(tf.io.gfile.glob(str(pattern)))]
    if not files:
        raise ValueError(f"no file matches {', '.join(map(str, source.files))}")
    features = (source.inputs, source.labels)
    spec = {feature.name: tf.io.FixedLenFeature(*_stored(feature)) for feature in features}
    dataset = tf.data.TFRecordDataset([str(path) for path in files]).map(
        partial(tf.io.parse_single_example, features=spec)
    )
    pairs = [tuple(_decoded(example[f.name], f) for f in features) for example in _first(dataset, source.rows)]
    return np.array([x for x, _ in pairs]), np.array([y for _, y in pairs]), tuple(files)


def _stored(feature: Feature) -> tuple[Any, Any]:
    if feature.type in ("raw", "image"):
        return (), tf.string
    return feature.shape, tf.as_dtype(feature.type)


def _decoded(value: Any, feature: Feature) -> Any:
    if feature.type == "raw":
        return tf.reshape(tf.io.decode_raw(value, tf.uint8), feature.shape).numpy()
    if feature.type == "image":
        return tf.reshape(tf.io.decode_image(value, expand_animations=False), feature.shape).numpy()
    return value.numpy()


def _imported(source: ImportedRows) -> Read:
    dataset = made(source.path, source.settings)
    if not isinstance(dataset, tf.data.Dataset):
        raise ValueError(f"{source.path!r} gives a {type(dataset).__name__}, not a tf.data.Dataset")
    pairs = list(_first(dataset, source.rows).as_numpy_iterator())
    return np.array([x for x, _ in pairs]), np.array([y for _, y in pairs]), ()


def _first(dataset: Any, rows: int | None) -> Any:
    return dataset if rows is None else dataset.take(rows)


_READERS: dict[type, Any] = {NpzRows: _npz, NpyRows: _npy, TfrecordRows: _tfrecord, ImportedRows: _imported}
