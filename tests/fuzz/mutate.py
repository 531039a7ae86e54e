"""Mutations of bytes that know nothing of what they mean."""

import random
from collections.abc import Callable, Sequence

from tests.fuzz.target import MAX_BYTES

NUMBERS = (
    *(b"0", b"-1", b"1e999", b"NaN", b"4294967296", b"9223372036854775807", b"-9223372036854775808", b"1" * 400),
    *(
        value.to_bytes(size, "little")
        for size in (2, 4, 8)
        for value in (0, 1, 2 ** (8 * size - 1), 2 ** (8 * size) - 1)
    ),
)
ODD = (
    b"\0",
    b"\n",
    b"\r\n",
    b"\xff",
    b"\xed\xa0\x80",
    b"\xe2\x80\xae",
    b"'",
    b'"',
    b"\\",
    b"[",
    b"{",
    b"%",
    b"${",
    b"..",
)
_MANY = (2, 2, 3, 10, 10, 100, 100, 1000, 20_000)


def mutated(data: bytes, rng: random.Random, others: Sequence[bytes], tokens: Sequence[bytes]) -> bytes:
    """An input with one to a few mutations.

    Args:
        data: the input.
        rng: decides.
        others: of which parts may be taken.
        tokens: that mean something to the reader.
    """
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 3, 6))):
        rng.choice(_MUTATIONS)(changed, rng, others, tokens)
    return bytes(changed[:MAX_BYTES])


Mutation = Callable[[bytearray, random.Random, Sequence[bytes], Sequence[bytes]], None]


def _span(data: bytearray, rng: random.Random, longest: int = 64) -> slice:
    start = rng.randint(0, len(data))
    return slice(start, min(len(data), start + rng.randint(1, longest)))


def _flip(data: bytearray, rng: random.Random, others: Sequence[bytes], tokens: Sequence[bytes]) -> None:
    if data:
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def _set(data: bytearray, rng: random.Random, others: Sequence[bytes], tokens: Sequence[bytes]) -> None:
    if data:
        data[rng.randrange(len(data))] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)))


def _cut(data: bytearray, rng: random.Random, others: Sequence[bytes], tokens: Sequence[bytes]) -> None:
    del data[_span(data, rng)]


def _truncate(data: bytearray, rng: random.Random, others: Sequence[bytes], tokens: Sequence[bytes]) -> None:
    del data[rng.randint(0, len(data)) :]


def _insert(data: bytearray, rng: random.Random, others: Sequence[bytes], tokens: Sequence[bytes]) -> None:
    at = rng.randint(0, len(data))
    data[at:at] = rng.choice((rng.choice(NUMBERS), rng.choice(ODD), rng.randbytes(rng.randint(1, 8))))


def _token(data: bytearray, rng: random.Random, others: Sequence[bytes], tokens: Sequence[bytes]) -> None:
    if tokens:
        at = _span(data, rng)
        data[at if rng.random() < 0.5 else slice(at.start, at.start)] = rng.choice(tokens)


def _number(data: bytearray, rng: random.Random, others: Sequence[bytes], tokens: Sequence[bytes]) -> None:
    """A number written in digits becomes another."""
    digits = [at for at, byte in enumerate(data[:4096]) if 0x30 <= byte <= 0x39]
    if digits:
        start = end = rng.choice(digits)
        while end < len(data) and 0x30 <= data[end] <= 0x39:
            end += 1
        data[start:end] = rng.choice(NUMBERS[:8])


def _repeat(data: bytearray, rng: random.Random, others: Sequence[bytes], tokens: Sequence[bytes]) -> None:
    span = _span(data, rng)
    times = min(rng.choice(_MANY), MAX_BYTES // max(1, span.stop - span.start))
    data[span] = bytes(data[span]) * times


def _move(data: bytearray, rng: random.Random, others: Sequence[bytes], tokens: Sequence[bytes]) -> None:
    span = _span(data, rng)
    taken = bytes(data[span])
    del data[span]
    at = rng.randint(0, len(data))
    data[at:at] = taken


def _splice(data: bytearray, rng: random.Random, others: Sequence[bytes], tokens: Sequence[bytes]) -> None:
    if others:
        other = rng.choice(others)
        data[rng.randint(0, len(data)) :] = other[rng.randint(0, len(other)) :]


def _lines(data: bytearray, rng: random.Random, others: Sequence[bytes], tokens: Sequence[bytes]) -> None:
    """Doubles, drops or moves a line, or takes one of another input."""
    lines = data.split(b"\n")
    at = rng.randrange(len(lines))
    match rng.randrange(4):
        case 0:
            lines.insert(at, lines[at])
        case 1:
            del lines[at]
        case 2:
            lines.insert(rng.randrange(len(lines)), lines.pop(at))
        case _:
            lines.insert(at, bytearray(rng.choice(rng.choice(others).split(b"\n")) if others else b""))
    data[:] = b"\n".join(lines)


_MUTATIONS: tuple[Mutation, ...] = (
    *(_flip, _set, _cut, _truncate, _insert, _token, _token, _number, _repeat, _move, _splice, _lines),
)
