"""What is fuzzed: the protocol of a target, and the bounds that hold for all of them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from google.protobuf.message import Message

CORPUS = Path(__file__).parent / "corpus"

GROWTH = 100
"""Bytes of memory that an input may take for each of its own."""
SMALL_INPUT = 64 * 2**10
"""Smaller inputs count as this large: an answer takes some memory however little was asked."""
MAX_BYTES = 512 * 2**10
"""No input is made longer."""


class Target(Protocol):
    """One reader of bytes.

    Attributes:
        name: also of its folder in the corpus.
        tokens: byte strings that mean something to it; they are put into inputs now and then.
        seconds: that an input of up to MAX_BYTES may take.
        pid: the process whose memory is watched; 0 is this one.
    """

    @property
    def name(self) -> str: ...
    @property
    def tokens(self) -> Sequence[bytes]: ...
    @property
    def seconds(self) -> float: ...
    @property
    def pid(self) -> int: ...

    def seeds(self) -> Sequence[bytes]:
        """Inputs to begin with; nearly all are good ones."""
        ...

    def message(self, data: bytes) -> tuple[slice, type[Message]] | None:
        """Where in an input a protobuf message is, and its type; None if it has none."""
        ...

    def mended(self, data: bytes) -> bytes:
        """The input with its lengths and checksums made right, so that it is not refused for those alone."""
        ...

    def run(self, data: bytes) -> str:
        """Reads an input; returns the verdict, one of few short words such as `decoded` or `INVALID_ARGUMENT`.

        Raises:
            Exception: what must not happen; `AssertionError` for an answer that is none of the documented ones.
        """
        ...


class Plain:
    """What is the same for targets that read bytes without a message in them, in this process."""

    tokens: Sequence[bytes] = ()
    seconds = 2.0
    pid = 0

    def message(self, data: bytes) -> tuple[slice, type[Any]] | None:
        """None."""
        del data
        return None

    def mended(self, data: bytes) -> bytes:
        """As it is."""
        return data


def corpus(name: str) -> list[bytes]:
    """A target's inputs that are kept, in the order of their files' names."""
    return [path.read_bytes() for path in sorted((CORPUS / name).glob("*"))]
