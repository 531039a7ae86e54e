"""Observations as bytes, for other proxies: exact, compact, versioned, and nothing else than an `Observation` has.

    magic, version, length of the header
    header: JSON; the strings that occur, and for each observation its time, caller, groups, signature (by their places
        among the strings) and number of rows
    of all rows, one array after the other, little-endian: digests, numbers of hashes, hashes, embeddings, classes,
        margins, entropies

Embeddings stay float32: detectors look at distances between near rows, which half precision would drown.
"""

import json
import math
import struct
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detectors.observation import DIMENSIONS, FINGERPRINT, Answers, Features, Observation

VERSION = 1
MAX_ROWS = 16_384
"""Rows in one batch that are read; more are an error."""
_HEAD = struct.Struct("<2sBxI")
_MAGIC = b"tw"


class UndecodableError(Exception):
    """Bytes are no batch of observations of this version."""


def encode(batch: Sequence[Observation]) -> bytes:
    """A batch of one model."""
    places: dict[str, int] = {}

    def place(text: str) -> int:
        return places.setdefault(text, len(places))

    calls = [
        (each.time, place(each.caller), [place(group) for group in each.groups], place(each.signature), each.rows)
        for each in batch
    ]
    header = json.dumps({"strings": list(places), "calls": calls}, separators=(",", ":")).encode()
    parts: list[bytes] = [_HEAD.pack(_MAGIC, VERSION, len(header)), header]
    features, answers = [each.features for each in batch], [each.answers for each in batch]
    hashes = _joined([each.fingerprints for each in features], "<u8")
    parts.append(_joined([each.digests for each in features], "<u8").tobytes())
    parts.append((hashes != 0).sum(axis=-1).astype(np.uint8).tobytes())
    parts.append(hashes[hashes != 0].tobytes())
    parts.append(_joined([each.embeddings for each in features], "<f4").tobytes())
    parts.append(_joined([each.classes for each in answers], "<i4").tobytes())
    parts.append(_joined([each.margins for each in answers], "<f4").tobytes())
    parts.append(_joined([each.entropies for each in answers], "<f4").tobytes())
    return b"".join(parts)


def decode(data: bytes, model: str) -> list[Observation]:
    """A batch of a model.

    Raises:
        UndecodableError: it is none.
    """
    if len(data) < _HEAD.size:
        raise UndecodableError(f"{len(data)} bytes are too few for observations")
    magic, version, length = _HEAD.unpack_from(data)
    if (magic, version) != (_MAGIC, VERSION):
        raise UndecodableError(f"observations of format {magic!r} {version}; this version reads {VERSION}")
    try:
        header = json.loads(data[_HEAD.size : _HEAD.size + length])
        strings = header["strings"]
        calls = [_call(strings, *each) for each in header["calls"]]
        return _observations(calls, _Columns(data, _HEAD.size + length), model)
    except (ValueError, TypeError, KeyError, IndexError, OverflowError, RecursionError) as error:
        raise UndecodableError(f"observations are damaged: {error!r}") from None


_Call = tuple[float, str, tuple[str, ...], str, int]


def _call(strings: list[str], time: float, caller: int, groups: list[int], signature: int, rows: int) -> _Call:
    found = float(time), strings[caller], tuple(strings[group] for group in groups), strings[signature], int(rows)
    if not (math.isfinite(found[0]) and 0 <= found[4] <= MAX_ROWS):
        raise ValueError(f"a call of {rows} rows at {time}")
    if not all(isinstance(each, str) for each in (found[1], found[3], *found[2])):
        raise TypeError("a name that is no text")
    return found


class _Columns:
    """Takes arrays off bytes."""

    def __init__(self, data: bytes, at: int) -> None:
        self._data = data
        self._at = at

    def take(self, kind: str, *shape: int) -> NDArray[Any]:
        """The next array, in memory of its own."""
        dtype = np.dtype(kind)
        count = math.prod(shape)
        if self._at + count * dtype.itemsize > len(self._data):
            raise ValueError("they end too early")
        found = np.frombuffer(self._data, dtype, count, self._at).reshape(shape)
        self._at += found.nbytes
        return found.astype(dtype.newbyteorder("="))

    def end(self) -> None:
        if self._at != len(self._data):
            raise ValueError("there is something behind them")


def _observations(calls: Sequence[_Call], columns: _Columns, model: str) -> list[Observation]:
    rows = sum(call[-1] for call in calls)
    if rows > MAX_ROWS:
        raise ValueError(f"{rows} rows; at most {MAX_ROWS}")
    digests = columns.take("<u8", rows)
    counts = columns.take("u1", rows)
    if (counts > FINGERPRINT).any():
        raise ValueError("a fingerprint with too many hashes")
    fingerprints = np.zeros((rows, FINGERPRINT), np.uint64)
    fingerprints[np.arange(FINGERPRINT) < counts[:, np.newaxis]] = columns.take("<u8", int(counts.sum(dtype=np.int64)))
    embeddings = columns.take("<f4", rows, DIMENSIONS)
    if not np.isfinite(embeddings).all():
        raise ValueError("an embedding that is not finite")
    classes, margins, entropies = columns.take("<i4", rows), columns.take("<f4", rows), columns.take("<f4", rows)
    columns.end()
    made = []
    end = 0
    for time, caller, groups, signature, count in calls:
        own = slice(end, end := end + count)
        features = Features(digests[own], fingerprints[own], embeddings[own])
        answers = Answers(classes[own], margins[own], entropies[own])
        made.append(Observation(time, caller, groups, model, signature, features, answers))
    return made


def _joined(arrays: Sequence[NDArray[Any]], kind: str) -> NDArray[Any]:
    return np.concatenate(arrays).astype(kind, copy=False)
