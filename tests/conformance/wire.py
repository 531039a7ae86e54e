"""Replies byte by byte, but for the order of map entries, which protobuf leaves to each process."""

from collections.abc import Iterator

from google.protobuf import descriptor_pool
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import DecodeError

from protos import serving_pb2

_OWN_PREFIX = "tensorwall."

Piece = tuple[bytes, object]
"""A field as it stands on the wire: tag and length, then the value, as bytes or as the pieces of a message."""


def up_to_map_order(method: str, reply: bytes) -> object:
    """A form of a reply that is equal for two replies if and only if they differ in the order of map entries at most.

    Args:
        method: full name; replies of unknown methods stay bytes.
    """
    service, name = method.rpartition("/")[0].rpartition(".")[2], method.rpartition("/")[2]
    found = serving_pb2.DESCRIPTOR.services_by_name.get(service)
    described = None if found is None else found.methods_by_name.get(name)
    return reply if described is None else _pieces(reply, described.output_type)


def _pieces(data: bytes, message: Descriptor) -> object:
    try:
        fields = list(_fields(data))
    except DecodeError:
        return data
    pieces: list[Piece] = []
    entries: dict[int, list[int]] = {}
    for number, head, value in fields:
        field = message.fields_by_number.get(number)
        nested = _message(field, fields) if field is not None and head[0] & 7 == 2 else None
        if field is not None and field.message_type is not None and field.message_type.GetOptions().map_entry:
            entries.setdefault(number, []).append(len(pieces))
        pieces.append((head, value if nested is None else _pieces(value, nested)))
    for positions in entries.values():
        in_order = sorted((pieces[position] for position in positions), key=repr)
        for position, piece in zip(positions, in_order, strict=True):
            pieces[position] = piece
    return tuple(pieces)


def _message(field: FieldDescriptor, siblings: list[tuple[int, bytes, bytes]]) -> Descriptor | None:
    """The type of a field's value; that of google.protobuf.Any's value is named by the field beside it."""
    if field.full_name != "google.protobuf.Any.value":
        return field.message_type
    url = next((value.decode() for number, _, value in siblings if number == 1), "")
    try:
        return descriptor_pool.Default().FindMessageTypeByName(_OWN_PREFIX + url.rpartition("/")[2])
    except KeyError:
        return None


def _fields(data: bytes) -> Iterator[tuple[int, bytes, bytes]]:
    """Field number, tag (with the length, if there is one) and value of each field, as they stand."""
    position = 0
    while position < len(data):
        tag, start = _varint(data, position)
        wire_type = tag & 7
        if wire_type == 2:
            length, start = _varint(data, start)
            end = start + length
        elif wire_type == 0:
            end = _varint(data, start)[1]
        elif wire_type in (1, 5):
            end = start + (8 if wire_type == 1 else 4)
        else:
            raise DecodeError("a group, which proto3 does not have")
        if end > len(data):
            raise DecodeError("a field ends beyond its message")
        yield tag >> 3, data[position:start], data[start:end]
        position = end


def _varint(data: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while position < len(data) and shift < 70:
        byte = data[position]
        value |= (byte & 0x7F) << shift
        position, shift = position + 1, shift + 7
        if byte < 0x80:
            return value, position
    raise DecodeError("a varint without an end")
