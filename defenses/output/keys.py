"""Randomness that belongs to the input: the same row always meets the same noise, known only with the secret.

What this gives: asking again teaches nothing, not after a restart and not from another account or replica (with a
configured secret). What it does not give: a near-duplicate of the row is another row, with its own noise, so a caller
who perturbs the input a little and averages still closes in on the clean answer, as fast as the square root of the
number of rows. Keys of a quantised row (`step`) give near-duplicates within a cell the same noise, and leave those that
straddle a boundary; what is left over is what near-duplicate detection and row budgets are for.
"""

from collections.abc import Mapping, Sequence
from hashlib import blake2b, shake_128
from typing import Any

import numpy as np
from numpy.typing import NDArray

from defenses.output.semantics import is_float

MIN_SECRET_BYTES = 16
MAX_SECRET_BYTES = 64


def row_keys(rows: Sequence[bytes], secret: bytes, context: str = "") -> NDArray[np.uint64]:
    """One 64-bit key a row: BLAKE2b (RFC 7693), keyed with `secret`, over `context` and the row.

    Args:
        rows: what identifies each row's input; see `row_bytes`.
        secret: 16 to 64 bytes. Replicas that share it give the same answers.
        context: what else the noise should depend on, as the model's name and version and the output's name; without
            it, the difference of two models' answers to one row would be free of noise.

    Raises:
        ValueError: the secret is too short or too long.
    """
    if not MIN_SECRET_BYTES <= len(secret) <= MAX_SECRET_BYTES:
        raise ValueError(
            f"the secret of keyed noise has {len(secret)} bytes; give it {MIN_SECRET_BYTES} to {MAX_SECRET_BYTES}, "
            "as from `openssl rand -hex 32`"
        )
    keyed = blake2b(_framed(context.encode()), key=secret, digest_size=8)
    digests = []
    for row in rows:
        state = keyed.copy()
        state.update(row)
        digests.append(state.digest())
    return np.frombuffer(b"".join(digests), dtype="<u8").astype(np.uint64)


def row_bytes(inputs: Mapping[str, NDArray[Any]], rows: int, step: float | None = None) -> list[bytes]:
    """Digests that identify each of a request's `rows`, however it was encoded and in whatever order its inputs came.

    An input whose first axis is not the batch's (a scalar setting, say) belongs to every row. Minus zero counts as
    zero and all NaN as one. With `step` (in the inputs' own unit) floats count as the nearest multiple of it; integers
    and strings (arrays of objects: bytes or str) are taken as they are.

    Raises:
        ValueError: `step` is not a positive number.
    """
    if step is not None and not 0.0 < step < float("inf"):
        raise ValueError(f"step is {step}; it has to be a positive number, in the unit of the input")
    shared = blake2b(digest_size=32)
    batched = []
    for name, values in sorted(inputs.items()):
        of_rows = values.ndim > 0 and values.shape[0] == rows
        shared.update(_framed(repr((name, values.dtype.name, values.shape[of_rows:])).encode()))
        if of_rows:
            batched.append(values)
        else:
            shared.update(_framed(_canonical(values, step)))
    found: list[bytes] = []
    before = None
    for at in range(rows):
        own = [_canonical(values[at : at + 1], step) for values in batched]
        if own != before:  # rows that are alike share one digest: a few bytes may repeat a row thousands of times
            before, state = own, shared.copy()
            for raw in own:
                state.update(raw)
            digest = state.digest()
        found.append(digest)
    return found


def position_keys(keys: NDArray[np.uint64], positions: int) -> NDArray[np.uint64]:
    """(rows,) keys to (rows * positions,): independent ones for each position of a row."""
    if positions == 1:
        return keys
    return _expand(b"position", keys, "<u8", positions).reshape(-1).astype(np.uint64)


def uniform(keys: NDArray[np.uint64], count: int) -> NDArray[np.float64]:
    """(rows, count) numbers, uniform in (-1, 1), that depend on the row's key only.

    They come from SHAKE128 (FIPS 202), so that a caller who works out one of a row's numbers learns no other.
    """
    drawn = _expand(b"uniform", keys, "<u4", count)
    return (drawn + 0.5) * 2.0**-31 - 1.0


def _expand(purpose: bytes, keys: NDArray[np.uint64], dtype: str, count: int) -> NDArray[Any]:
    size = count * np.dtype(dtype).itemsize
    packed = keys.astype("<u8").tobytes()
    start = shake_128(purpose)
    digests = []
    for at in range(0, len(packed), 8):
        state = start.copy()
        state.update(packed[at : at + 8])
        digests.append(state.digest(size))
    return np.frombuffer(b"".join(digests), dtype=dtype).reshape(len(keys), count)


def _framed(data: bytes) -> bytes:
    return len(data).to_bytes(8, "little") + data


def _canonical(values: NDArray[Any], step: float | None) -> bytes:
    if values.dtype == object:
        return b"".join(_framed(item if isinstance(item, bytes) else str(item).encode()) for item in values.flat)
    if not is_float(values.dtype):
        return values.tobytes()
    plain = values if step is None else np.rint(values.astype(np.float64) / step)
    kind = plain.dtype.type
    canonical: NDArray[Any] = np.where(np.isnan(plain), kind("nan"), plain + kind(0))
    return canonical.tobytes()
