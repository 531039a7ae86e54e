"""A request opened for reading and changing its rows, whatever method it is of.

An *input* is what a rule names: a Predict input, or a feature of the tf.Examples that Classify, Regress and
MultiInference carry, and that a Predict input may hold serialized.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError
from numpy.typing import NDArray

from defenses.input import InvalidInputError
from defenses.output import row_bytes
from protos import serving_pb2 as serving
from protos.example_pb2 import Example, Feature
from protos.tensor_pb2 import DT_STRING, TensorProto
from proxy.codec import Decoded, example_input
from proxy.tensors import UndecodableTensorError, refuse_repeating, rows_with_values, sent_strings, set_array, to_array

Array = NDArray[Any]

_LISTS: dict[str, np.dtype[Any]] = {
    "float_list": np.dtype(np.float32),
    "int64_list": np.dtype(np.int64),
    "bytes_list": np.dtype(object),
}
"""The kinds of a feature and the dtype of an array of their values."""


@dataclass(frozen=True, slots=True)
class Block:
    """Rows of one input that have one shape and type.

    Attributes:
        values: (rows, ...), the caller's; strings as an object array of bytes.
        replace: puts other values of the same shape and dtype in their place.
        label: says which rows they are where not all rows are alike, else empty.
    """

    values: Array
    replace: Callable[[Array], None]
    label: str = ""

    @property
    def rows(self) -> int:
        """How many rows there are; rows of nothing do not count, since a shape may claim any number of them."""
        if self.values.size == 0:
            return 0
        return len(self.values) if self.values.ndim else 1


class OpenRequest:
    """One decoded request.

    A Predict input of strings holds serialized tf.Examples if every element is one and one of them has a feature that a
    rule names; which inputs do so is in no metadata. A batch of which TensorFlow could parse a part only, it refuses.

    Args:
        decoded: changed in place by `Block.replace`.
        names: the inputs and features that rules name.
    """

    def __init__(self, decoded: Decoded, names: Collection[str] = ()) -> None:
        self.message = decoded.message
        spec = getattr(decoded.message, "model_spec", None)
        self.names_version = spec is not None and spec.WhichOneof("version_choice") is not None
        self._tensors = decoded.message.inputs if hasattr(decoded.message, "inputs") else {}
        listed = example_input(decoded.message)
        sizes = map(rows_with_values, self._tensors.values())
        self.rows = max(sizes, default=0) if self._tensors else decoded.rows
        # As the messages have them: in a list each would be an object of its own, some hundred bytes for two.
        self._examples: Iterable[Example] = listed.examples if listed is not None else ()
        self.context: Example | None = getattr(listed, "context", None)
        self._serialized: list[_Serialized] = []
        self._unreadable = ""
        sent = [(proto, _sent_examples(proto, names)) for name, proto in self._tensors.items() if name not in names]
        held = [(proto, examples) for proto, examples in sent if examples]
        try:
            refuse_repeating([proto for proto, _ in held])
            self._serialized.extend(_serialized(proto, examples) for proto, examples in held)
        except UndecodableTensorError as error:
            self._unreadable = f"the tf.Examples in a tensor cannot be read: {error}"

    @property
    def all_examples(self) -> Iterator[Example]:
        """Every tf.Example of the request, a shared context not among them."""
        yield from self._examples
        for holder in self._serialized:
            yield from holder.examples

    def tensor(self, name: str) -> TensorProto | None:
        """The Predict input of this name."""
        return self._tensors.get(name)  # unlike [], it adds nothing to the message

    def blocks(self, name: str) -> Iterator[Block]:
        """All rows of an input; none if the request has no such input.

        Raises:
            InvalidInputError: it has values that cannot be read, or what may have the feature cannot.
        """
        if self._unreadable:
            raise InvalidInputError(self._unreadable)
        proto = self.tensor(name)
        if proto is not None:
            yield Block(_array(proto), partial(set_array, proto))
        yield from feature_blocks(self.all_examples, name)
        if self.context is not None:
            yield from feature_blocks([self.context], name, "the shared context")

    def lacking(self, name: str) -> int | None:
        """The first tf.Example, by position, that lacks a feature and has none from a shared context either."""
        if self.context is not None and _has(self.context, name):
            return None
        return next((at for at, example in enumerate(self.all_examples) if not _has(example, name)), None)

    def identities(self, names: Collection[str] | None, step: float | None) -> list[bytes]:
        """What identifies each row's input, read before anything is changed; see `defenses.output.row_bytes`.

        Args:
            names: inputs that count; None for all.
            step: as `row_bytes` has it.
        """
        if self._tensors and not self._serialized:
            wanted = {key: proto for key, proto in self._tensors.items() if names is None or key in names}
            try:
                refuse_repeating(wanted.values())
                arrays = {key: to_array(proto) for key, proto in wanted.items()}
            except UndecodableTensorError:
                return [b"".join(wanted[key].SerializeToString(deterministic=True) for key in sorted(wanted))]
            return row_bytes(arrays, self.rows, step) if self.rows else []
        shared = _arrays(self.context, names) if self.context is not None else {}
        digests = (row_bytes(shared | _arrays(example, names), 1, step)[0] for example in self.all_examples)
        held: dict[bytes, bytes] = {}
        return [held.setdefault(digest, digest) for digest in digests]  # rows of nothing are all alike: one is enough

    def body(self) -> bytes:
        """The message, with all that was changed."""
        for holder in self._serialized:
            holder.write()
        raw: bytes = self.message.SerializeToString()
        return raw


def changed_rows(before: Array, after: Array) -> int:
    """Rows in which the two differ, bit for bit."""
    if after is before or before.size == 0:
        return 0
    if before.ndim == 0:
        return int(before.tolist() != after.tolist())
    if before.dtype == object:
        return sum(old != new for old, new in zip(before.tolist(), after.tolist(), strict=True))
    bits = np.uint32 if before.itemsize % 4 == 0 else np.uint8
    old, new = (np.ascontiguousarray(array).reshape(len(array), -1).view(bits) for array in (before, after))
    return int(np.count_nonzero((old != new).any(axis=1)))


@dataclass(frozen=True, slots=True)
class _Serialized:
    """The tf.Examples in a string tensor."""

    proto: TensorProto
    raw: Array
    examples: Iterable[Example]

    def write(self) -> None:
        """Also what no rule changed: one way to read the bytes is left, where parsers might differ."""
        changed = False
        written = np.empty(self.raw.size, dtype=object)
        for at, (old, example) in enumerate(zip(self.raw.flat, self.examples, strict=True)):
            new = example.SerializeToString()
            written[at] = old if new == old else new
            changed |= new != old
        if changed:
            set_array(self.proto, written.reshape(self.raw.shape))


def _sent_examples(proto: TensorProto, names: Collection[str]) -> Sequence[Example]:
    """The tf.Examples that were sent, whatever the shape makes of them; none if none has a feature that is named."""
    if proto.dtype != DT_STRING:
        return ()
    try:
        examples = _parsed(sent_strings(proto))
    except (DecodeError, UndecodableTensorError):
        return ()
    return examples if any(_has(example, name) for example in examples for name in names) else ()


def _serialized(proto: TensorProto, sent: Sequence[Example]) -> _Serialized:
    raw = to_array(proto)
    return _Serialized(proto, raw, sent if len(sent) == raw.size else _parsed(raw.ravel().tolist()))


def _parsed(serialized: Iterable[bytes]) -> Sequence[Example]:
    examples = serving.ExampleList().examples  # one message of all: one by itself takes some hundred bytes more
    for each in serialized:
        examples.add().MergeFromString(each)
    return examples


def _array(proto: TensorProto) -> Array:
    try:
        return to_array(proto)
    except UndecodableTensorError as error:
        raise InvalidInputError(f"the tensor cannot be read: {error}") from None


def features_of(example: Example) -> Mapping[str, Feature]:
    """By name. To look for them in a message that has none would add some hundred bytes to it."""
    return example.features.feature if example.HasField("features") else {}


def _has(example: Example, name: str) -> bool:
    features = features_of(example)
    return name in features and features[name].WhichOneof("kind") is not None


def _arrays(example: Example, names: Collection[str] | None) -> dict[str, Array]:
    """One row's features as arrays of one row."""
    found = {}
    features = features_of(example)
    for name in features:
        kind = features[name].WhichOneof("kind")
        if kind is not None and (names is None or name in names):
            values = getattr(features[name], kind).value
            found[name] = _typed(list(values), kind)[np.newaxis]
    return found


def feature_blocks(examples: Iterable[Example], name: str, label: str = "") -> Iterator[Block]:
    """The feature's values, those of one kind and length together."""
    alike: dict[tuple[str, int], list[Feature]] = {}
    count = 0
    for example in examples:
        count += 1
        if _has(example, name):
            feature = example.features.feature[name]
            kind = str(feature.WhichOneof("kind"))
            alike.setdefault((kind, len(getattr(feature, kind).value)), []).append(feature)
    for (kind, length), features in alike.items():
        mixed = label or (f"of the rows with {length} values" if len(features) < count else "")
        flat = [value for feature in features for value in getattr(feature, kind).value]
        values = _typed(flat, kind).reshape(len(features), length)
        yield Block(values, partial(_replace, features, kind, values), mixed)


def _typed(values: list[Any], kind: str) -> Array:
    array: Array = np.empty(len(values), dtype=_LISTS[kind])
    array[:] = values
    return array


def _replace(features: list[Feature], kind: str, before: Array, after: Array) -> None:
    for feature, old, new in zip(features, before, after, strict=True):
        if old.tobytes() != new.tobytes() if old.dtype != object else old.tolist() != new.tolist():
            held = getattr(feature, kind).value
            del held[:]
            held.extend(new.tolist())
