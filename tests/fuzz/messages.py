"""Mutations of protobuf messages, by their descriptors: what comes out parses, and means something else.

Tensors are of special interest: type, shape and content of a new one fit together or, mostly, do not.
"""

import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import DecodeError, Message

from protos.tensor_pb2 import DataType, TensorProto
from tests.fuzz.mutate import ODD, mutated
from tests.fuzz.target import MAX_BYTES

SIZES = (-(2**63), -1, 0, 0, 1, 1, 2, 3, 28, 255, 10**4, 2**20, 2**31 - 1, 2**31, 2**40, 2**62, 2**63 - 1)
WHOLE = (0, 1, -1, 2, 7, 127, 128, 255, 2**31 - 1, -(2**31), 2**32 - 1, 2**63 - 1, -(2**63), 2**64 - 1)
REAL = (0.0, -0.0, 1.0, -1.0, 0.5, 1e-45, 3.4e38, -3.4e38, float("inf"), float("-inf"), float("nan"))
TEXTS = ("", "x", "scores", "\0", "\n", "é", "\u202e", "a" * 300, "{}", "*", "../..", "\U0001f600", "\ufeff")
DEPTHS = (1, 2, 10, 45, 49, 50, 60, 98, 101, 400)
"""Messages inside messages; protobuf reads 100 levels."""
TIMES = (2, 2, 3, 3, 64, 64, 255, 1000, 30_000)
_UNKNOWN = (
    *(b"\xa8\x06\x01", b"\xaa\x06\x03abc", b"\xa3\x06\xa4\x06", b"\xad\x06\0\0\0\0", b"\xa9\x06" + bytes(8)),
    *(b"\xa2\x06" + b"\x80\x01" + bytes(128), b"\xf8\xff\xff\xff\x0f\x01"),
)
"""Fields 100 and 2**29 - 1 in each wire type."""
_SCALARS = {
    FieldDescriptor.CPPTYPE_INT32: lambda rng: rng.choice(WHOLE) % 2**32 - 2**31,
    FieldDescriptor.CPPTYPE_INT64: lambda rng: rng.choice((*WHOLE[:-1], *SIZES)),
    FieldDescriptor.CPPTYPE_UINT32: lambda rng: rng.choice(WHOLE) % 2**32,
    FieldDescriptor.CPPTYPE_UINT64: lambda rng: rng.choice(WHOLE) % 2**64,
    FieldDescriptor.CPPTYPE_ENUM: lambda rng: rng.choice((*range(32), 101, 123, -1, 2**31 - 1)),
    FieldDescriptor.CPPTYPE_BOOL: lambda rng: rng.random() < 0.5,
    FieldDescriptor.CPPTYPE_FLOAT: lambda rng: rng.choice(REAL),
    FieldDescriptor.CPPTYPE_DOUBLE: lambda rng: rng.choice((*REAL, 1e308, 5e-324)),
}


def mutated_message(
    data: bytes, form: type[Message], rng: random.Random, others: Sequence[bytes], tokens: Sequence[bytes]
) -> bytes:
    """A message with one to a few mutations; other bytes than a message's are mutated as bytes.

    Args:
        data: the message.
        form: its type.
        rng: decides.
        others: messages of which parts may be taken.
        tokens: names that mean something to the reader.
    """
    message: Any = form()
    try:
        message.ParseFromString(data)
    except DecodeError:
        return mutated(data, rng, others, tokens)
    for _ in range(rng.choice((1, 1, 1, 2, 3, 6))):
        try:
            part = rng.choice(list(_parts(message)))
            rng.choice(_MUTATIONS)(part, rng, tokens)
        # What a field does not take. Where a message grows deeper than protobuf reads, it says so a call too late.
        except (ValueError, TypeError, DecodeError):
            continue
    made = _deep(message, rng) if rng.random() < 0.1 else bytes(message.SerializeToString())
    if rng.random() < 0.2:
        made = mutated(made, rng, others, tokens)
    return made[:MAX_BYTES]


def _parts(message: Message, most: int = 200) -> Iterator[Any]:
    """The message and those in it, the outermost first."""
    waiting = [message]
    while waiting and most:
        part = waiting.pop(0)
        yield part
        most -= 1
        for field, value in part.ListFields():
            waiting += [each for _, each in zip(range(most), _messages(field, value, part), strict=False)]


def _messages(field: FieldDescriptor, value: Any, holder: Message) -> Iterator[Any]:
    if field.message_type is None:
        return
    if _is_map(field):
        if field.message_type.fields_by_name["value"].message_type is not None:
            yield from (value[key] for key in sorted(value))
    elif _repeated(field):
        yield from value
    else:
        yield getattr(holder, field.name)


def _field(part: Any, rng: random.Random, tokens: Sequence[bytes]) -> None:
    """One field, present or not, gets a value."""
    fields = part.DESCRIPTOR.fields
    if not fields:
        return
    field = rng.choice(fields)
    held = getattr(part, field.name)
    if _is_map(field):
        _key(held, field, rng, tokens)
    elif field.message_type is not None:
        (held.add() if _repeated(field) else held).SetInParent()
    elif _repeated(field):
        held.append(_scalar(field, rng, tokens))
    else:
        old = bytes(held) if field.type == FieldDescriptor.TYPE_BYTES else None
        setattr(part, field.name, mutated(old, rng, (), tokens) if old else _scalar(field, rng, tokens))


def _clear(part: Any, rng: random.Random, tokens: Sequence[bytes]) -> None:
    present = part.ListFields()
    if present:
        part.ClearField(rng.choice(present)[0].name)


def _elements(part: Any, rng: random.Random, tokens: Sequence[bytes]) -> None:
    """Elements of a repeated field or a map are dropped, doubled many times or put in another order."""
    found = [(field, value) for field, value in part.ListFields() if _repeated(field) and len(value)]
    if not found:
        return
    field, held = rng.choice(found)
    if _is_map(field):
        _key(held, field, rng, tokens)
        return
    at = rng.randrange(len(held))
    match rng.randrange(4):
        case 0:
            del held[at]
        case 1:
            del held[at:]
        case 2:
            one = held[at]
            size = one.ByteSize() if field.message_type is not None else len(one) if hasattr(one, "__len__") else 8
            held.extend([one] * min(rng.choice(TIMES), MAX_BYTES // (size + 2)))
        case _:
            order = list(held)[:1000]
            rng.shuffle(order)
            copies = [_copy(one) for one in order] if field.message_type is not None else order
            del held[:]
            held.extend(copies)


def _key(held: Any, field: FieldDescriptor, rng: random.Random, tokens: Sequence[bytes]) -> None:
    """An entry of a map is dropped, goes by another name, or is there under many."""
    keys = sorted(held)
    old = rng.choice(keys) if keys else None
    if old is not None and rng.random() < 0.2:
        del held[old]
        return
    entry: Any = field.message_type
    names = [_scalar(entry.fields_by_name["key"], rng, tokens)]
    if rng.random() < 0.2:
        names = [f"{names[0]}{number}" for number in range(min(rng.choice(TIMES), 2000))]
    for name in names:
        if entry.fields_by_name["value"].message_type is None:
            held[name] = _scalar(entry.fields_by_name["value"], rng, tokens)
        elif old is None:
            held[name].SetInParent()
        else:
            held[name].CopyFrom(held[old])


def _replaced(part: Any, rng: random.Random, tokens: Sequence[bytes]) -> None:
    """A message in this one becomes another of the same type, with all that it holds."""
    inner = list(_parts(part))[1:]
    if not inner:
        return
    one = rng.choice(inner)
    alike = [each for each in inner if each.DESCRIPTOR is one.DESCRIPTOR]
    one.MergeFrom(_copy(rng.choice(alike))) if rng.random() < 0.5 else one.CopyFrom(_copy(rng.choice(alike)))


def _unknown(part: Any, rng: random.Random, tokens: Sequence[bytes]) -> None:
    part.MergeFromString(rng.choice(_UNKNOWN) * rng.choice((1, 1, 1, 1000)))


def _tensor(part: Any, rng: random.Random, tokens: Sequence[bytes]) -> None:
    """A tensor in or at the part becomes a new one, or gets one thing of a new one."""
    tensors = [each for each in _parts(part) if isinstance(each, TensorProto)]
    if not tensors:
        return
    held, new = rng.choice(tensors), tensor(rng)
    match rng.randrange(4):
        case 0:
            held.CopyFrom(new)
        case 1:
            held.dtype = new.dtype
        case 2:
            held.tensor_shape.CopyFrom(new.tensor_shape)
        case _:
            new.dtype = held.dtype
            new.tensor_shape.CopyFrom(held.tensor_shape)
            held.CopyFrom(new)


_MUTATIONS: tuple[Callable[[Any, random.Random, Sequence[bytes]], None], ...] = (
    *(_field, _field, _field, _clear, _elements, _elements, _replaced, _unknown, _tensor, _tensor),
)


def tensor(rng: random.Random) -> Any:
    """A tensor of a random type whose shape and content come from few possible ones."""
    made: Any = TensorProto()
    made.dtype = rng.choice(DataType.values())
    rank = rng.choice((0, 1, 1, 2, 2, 3, 4, 8, 64, 65, 255, 2000))
    small = rng.random() < 0.7 and rank <= 8
    for _ in range(rank):
        made.tensor_shape.dim.add(
            size=rng.choice((0, 1, 1, 2, 3, 4) if small else SIZES if rank <= 8 else (1, 1, 1, 0))
        )
    made.tensor_shape.unknown_rank = rng.random() < 0.05
    elements = 1
    for dim in made.tensor_shape.dim:
        elements = min(elements * max(0, dim.size), 256)
    width = rng.choice((1, 2, 4, 8, 16, 24))
    if rng.random() < 0.5:
        made.tensor_content = rng.choice((rng.randbytes(elements * width), bytes(elements * width), rng.randbytes(5)))
    if rng.random() < 0.6:
        fields = [field for field in made.DESCRIPTOR.fields if field.name.endswith("_val") and not field.message_type]
        field = rng.choice(fields)
        if _repeated(field):
            count = rng.choice((1, 2, elements, max(0, elements - 1), elements + 1, 2 * elements))
            getattr(made, field.name).extend([_scalar(field, rng, ()) for _ in range(count)])
        else:
            setattr(made, field.name, rng.randbytes(elements))
    return made


def _deep(message: Any, rng: random.Random) -> bytes:
    """The message with one in it inside itself many times over, if its type allows that: perhaps too deep."""
    for part in _parts(message):
        way = _way(part.DESCRIPTOR)
        if not way:
            continue
        inner = bytes(part.SerializeToString())
        for _ in range(rng.choice(DEPTHS)):
            for number in reversed(way):
                inner = _tag(number) + _varint(len(inner)) + inner
        # An unknown field of the same length keeps its place, since what is too deep cannot be put in as a message.
        size = len(inner) - 2 - len(_varint(len(inner)))
        if 0 < size < MAX_BYTES:
            place = _tag(100) + _varint(size) + b"\xa5" * size
            part.MergeFromString(place)
            return bytes(message.SerializeToString()).replace(place, inner[: len(place)])
    return bytes(message.SerializeToString())


def _way(descriptor: Any) -> list[int]:
    """Numbers of the fields that lead from a message to one of the same type; none if there is no such way."""
    ways: list[tuple[Any, list[int]]] = [(descriptor, [])]
    seen = set()
    while ways:
        at, numbers = ways.pop(0)
        for field in at.fields:
            inner = field.message_type
            if inner is descriptor:
                return [*numbers, field.number]
            if inner is not None and inner.full_name not in seen:
                seen.add(inner.full_name)
                ways.append((inner, [*numbers, field.number]))
    return []


def _scalar(field: FieldDescriptor, rng: random.Random, tokens: Sequence[bytes]) -> Any:
    if field.type == FieldDescriptor.TYPE_STRING:
        known = [token.decode(errors="ignore") for token in tokens]
        return rng.choice(known) if known and rng.random() < 0.5 else rng.choice(TEXTS)
    if field.type == FieldDescriptor.TYPE_BYTES:
        return rng.choice((b"", rng.choice(ODD), rng.randbytes(rng.randint(1, 40)), bytes(1000)))
    return _SCALARS[field.cpp_type](rng)


def _copy(message: Any) -> Any:
    copied = type(message)()
    copied.CopyFrom(message)
    return copied


def _is_map(field: FieldDescriptor) -> bool:
    return field.message_type is not None and field.message_type.GetOptions().map_entry


def _repeated(field: FieldDescriptor) -> bool:
    return bool(field.is_repeated)


def _tag(number: int) -> bytes:
    return _varint(number << 3 | 2)


def _varint(value: int) -> bytes:
    made = bytearray()
    while value > 0x7F:
        made.append(value & 0x7F | 0x80)
        value >>= 7
    made.append(value)
    return bytes(made)
