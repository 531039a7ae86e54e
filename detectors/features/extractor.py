"""Digest, fingerprint and embedding of each row of a request.

The *fingerprint* is Blacklight's (Li et al., USENIX Security 2022, arXiv 2006.14042) with windows over the quantised
row, of which the smallest salted hashes are kept, and with one change: windows of one value count not, since a shared
background is no likeness. The *embedding* is the block-averaged row, without its mean and of length 1 if it is an image
(so that brightness and contrast are no difference, and fresh noise averages out), turned by a salted random projection
(Johnson and Lindenstrauss), which keeps distances and hides what the coordinates mean.
"""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detectors.features.reduce import (
    BUCKETS,
    FINE,
    GRID,
    LONG,
    blocks,
    byte_values,
    is_image,
    mixed,
    shortened,
    trigrams,
    windows,
)
from detectors.features.scaling import Scaling
from detectors.observation import DIMENSIONS, FINGERPRINT, Features, Floats, Hashes

STEPS = 5
"""Values that a quantised row takes over its own range, about Blacklight's 256 / 50."""
WINDOW = 20
"""Values in a window of an image or a long vector; Blacklight's."""
TEXT_WINDOW = 12
"""Bytes in a window of a text: about two words."""
MIN_WINDOWS = 64
"""Rows with fewer values than this and a window have no fingerprint: there are too few to tell rows apart by."""
MIN_SALT = 16
LARGEST = 1e15
"""Larger numbers are taken for this: the sum of the squares of a long row has to stay within float32."""
TOGETHER_BYTES = 128 * 2**10
"""Of inputs that are looked at at once: what is made of them is several times as large and has to stay in the cache."""
TEXT_BYTES = 4 * BUCKETS
"""For which a text counts among them at least: its trigrams take so many, however short it is."""
MAX_COLUMNS = 64 * BUCKETS
"""Of all inputs of a request together, as they are projected: those of 64 texts. A feature may have any name, and each
new name costs a projection."""
_MAX_PROJECTIONS = 64

Array = NDArray[Any]


class Extractor:
    """Features of one model's rows.

    Args:
        salt: at least 16 secret bytes; features of different salts do not compare.
        scaling: of the columns of inputs that are neither images nor text, by input name.
    """

    def __init__(self, salt: bytes, scaling: Mapping[str, Scaling] | None = None) -> None:
        if len(salt) < MIN_SALT:
            raise ValueError(f"the salt has {len(salt)} bytes and needs {MIN_SALT}")
        self._salt = salt
        self._scaling = dict(scaling or {})
        self._projections: OrderedDict[tuple[str, int], Floats] = OrderedDict()
        self._seed = np.uint64(int.from_bytes(self._hash(b"fingerprint"), "little"))

    def __call__(self, inputs: Mapping[str, Array], rows: int) -> Features:
        """The features of a request.

        Args:
            inputs: batch-first arrays by name: numeric of any dtype, or object arrays of bytes. Those whose first size
                is not `rows` say nothing of a row and are left out, as are those without values.
            rows: examples in the request.

        Raises:
            ValueError: more inputs than can be looked at.
        """
        used = {name: values for name, values in sorted(inputs.items()) if values.ndim and len(values) == rows}
        used = {name: values for name, values in used.items() if values.size}
        if sum(map(_columns, used.values())) > MAX_COLUMNS:
            raise ValueError(f"{len(used)} inputs are more than can be looked at; name those that count")
        if any(values.dtype == object for values in used.values()):
            firsts, alike = _distinct(used)
            if len(firsts) < rows:
                return self({name: values[firsts] for name, values in used.items()}, len(firsts))[alike]
        made = Features(
            np.zeros(rows, dtype=np.uint64),
            np.zeros((rows, FINGERPRINT), dtype=np.uint64),
            np.zeros((rows, DIMENSIONS), dtype=np.float32),
        )
        together = max(1, TOGETHER_BYTES // max(1, sum(map(_row_bytes, used.values()))))
        for begin in range(0, rows, together):
            part = slice(begin, begin + together)
            self._part({name: _finite(values[part]) for name, values in used.items()}, made[part])
        return made

    def _part(self, inputs: Mapping[str, Array], made: Features) -> None:
        fingerprints = []
        for name, values in inputs.items():
            made.embeddings[:] += self._embedding(name, values)
            fingerprints.append(self._windows(values))
        if fingerprints:
            made.fingerprints[:] = _smallest(np.concatenate(fingerprints, axis=1))
        self._digests(inputs, made.digests)

    def columns(self, values: Array) -> Floats | None:
        """What `Scaling.of` learns from; None for inputs that need none."""
        return None if values.dtype == object or is_image(values.shape) else shortened(values)

    def _embedding(self, name: str, values: Array) -> Floats:
        if values.dtype == object:
            return self._project(name, trigrams(values))
        if is_image(values.shape):
            flat = blocks(values, GRID).reshape(len(values), -1)
            flat = flat - flat.mean(axis=1, keepdims=True)
            return self._project(name, flat / (np.linalg.norm(flat, axis=1, keepdims=True) + np.float32(1e-6)))
        columns = shortened(values)
        scaling = self._scaling.get(name)
        if scaling is not None:
            columns = scaling(columns)
        return self._project(name, columns / np.float32(np.sqrt(columns.shape[1])))

    def _project(self, name: str, columns: Floats) -> Floats:
        projected: Floats = columns @ self._projection(name, columns.shape[1])
        return projected

    def _projection(self, name: str, columns: int) -> Floats:
        """(columns, DIMENSIONS): a rotation where that has room, else one that keeps distances on average."""
        found = self._projections.get((name, columns))
        if found is None:
            rng = np.random.default_rng(int.from_bytes(self._hash(b"projection" + name.encode()), "little"))
            found = rng.standard_normal((columns, DIMENSIONS)).astype(np.float32)
            if columns <= DIMENSIONS:
                found = np.linalg.qr(found.T)[0].T.astype(np.float32)
            else:
                found /= np.float32(np.sqrt(DIMENSIONS))
            if len(self._projections) >= _MAX_PROJECTIONS:  # callers choose shapes
                self._projections.popitem(last=False)  # one: all at once would be made anew together
            self._projections[name, columns] = found
        return found

    def _windows(self, values: Array) -> Hashes:
        """(rows, windows) salted hashes, 0 for windows that do not count."""
        if values.dtype == object:
            return self._text_windows(values)
        image = is_image(values.shape)
        flat = blocks(values, FINE).reshape(len(values), -1) if image else shortened(values)
        if flat.shape[1] < MIN_WINDOWS + WINDOW:
            return np.zeros((len(flat), 0), dtype=np.uint64)
        low, high = flat.min(axis=1, keepdims=True), flat.max(axis=1, keepdims=True)
        scaled = flat - low
        scaled /= np.where(high > low, high - low, 1)
        scaled *= np.float32(STEPS)
        scaled += np.float32(0.5)
        quantised = scaled.astype(np.uint8)  # rounds down
        hashes = windows(quantised.astype(np.uint64), WINDOW)
        hashes ^= self._seed
        hashes = mixed(hashes)
        changes = np.zeros(flat.shape, dtype=np.int32)
        np.cumsum(quantised[:, 1:] != quantised[:, :-1], axis=1, dtype=np.int32, out=changes[:, 1:])
        hashes[changes[:, WINDOW - 1 :] - changes[:, : flat.shape[1] - WINDOW + 1] < WINDOW // 4] = 0
        return hashes

    def _text_windows(self, texts: Array) -> Hashes:
        found = [mixed(windows(byte_values(row), TEXT_WINDOW) ^ self._seed) for row in texts.reshape(len(texts), -1)]
        made = np.zeros((len(texts), max(map(len, found), default=0)), dtype=np.uint64)
        for at, hashes in enumerate(found):
            made[at, : len(hashes)] = hashes
        return made

    def _digests(self, inputs: Mapping[str, Array], made: Hashes) -> None:
        keyed = blake2b(key=self._salt[:64], digest_size=8)
        raws = [(b"%d:%s" % (len(name), name.encode()), _raw(values)) for name, values in inputs.items()]
        for at in range(len(made)):
            digest = keyed.copy()
            for header, raw in raws:
                digest.update(header)
                digest.update(b"%d:" % len(raw[at]))
                digest.update(raw[at])
            made[at] = int.from_bytes(digest.digest(), "little")

    def _hash(self, what: bytes) -> bytes:
        return blake2b(what, key=self._salt[:64], digest_size=8).digest()


def _distinct(inputs: Mapping[str, Array]) -> tuple[list[int], list[int]]:
    """The first of each kind of row, and each row's kind: a few bytes may repeat a long text thousands of times."""
    columns = [
        map(tuple, flat.tolist()) if flat.dtype == object else map(bytes, np.ascontiguousarray(flat))
        for flat in (values.reshape(len(values), -1) for values in inputs.values())
    ]
    kinds: dict[tuple[Any, ...], int] = {}
    firsts, alike = list[int](), list[int]()
    for at, row in enumerate(zip(*columns, strict=True)):
        kind = kinds.setdefault(row, len(firsts))
        if kind == len(firsts):
            firsts.append(at)
        alike.append(kind)
    return firsts, alike


def _row_bytes(values: Array) -> int:
    return max(TEXT_BYTES if values.dtype == object else 0, values.nbytes // len(values))


def _columns(values: Array) -> int:
    """How many there are to project, at the most."""
    return BUCKETS if values.dtype == object else min(LONG, values.size // len(values))


def _raw(values: Array) -> Sequence[bytes]:
    """The bytes of each row."""
    if values.dtype == object:
        return [repr(values[at : at + 1].tolist()).encode() for at in range(len(values))]
    whole = values.tobytes()
    size = len(whole) // len(values)
    return [whole[at : at + size] for at in range(0, len(whole), size)]


def _finite(values: Array) -> Array:
    """Numbers that can be reckoned with: no NaN, and none whose square would leave float32."""
    if values.dtype == object or (np.issubdtype(values.dtype, np.integer) and values.dtype.itemsize < 8):
        return values
    if np.iscomplexobj(values):
        values = np.abs(values)
    with np.errstate(over="ignore"):
        narrow: Array = values.astype(np.float32, copy=False)
    if np.isfinite(narrow).all() and np.abs(narrow).max() <= LARGEST:
        return narrow
    return np.nan_to_num(narrow, nan=0.0).clip(-LARGEST, LARGEST)


def _smallest(hashes: Hashes) -> Hashes:
    """The FINGERPRINT smallest distinct nonzero hashes of each row, ascending, then zeros."""
    rows, count = hashes.shape
    made = np.zeros((rows, FINGERPRINT), dtype=np.uint64)
    if count == 0:
        return made
    last = np.iinfo(np.uint64).max
    hashes = np.where(hashes == 0, last, hashes)
    keep = min(count, 2 * FINGERPRINT)  # twice as many, since equal windows are counted once
    if keep < count:
        hashes = np.partition(hashes, keep - 1, axis=1)[:, :keep]
    hashes = np.sort(hashes, axis=1)
    hashes[:, 1:][hashes[:, 1:] == hashes[:, :-1]] = last
    hashes = np.sort(hashes, axis=1)[:, :FINGERPRINT]
    made[:, : hashes.shape[1]] = np.where(hashes == last, 0, hashes)
    return made
