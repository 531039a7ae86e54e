"""Silent enforcement: a row is answered as an earlier near row was.

The answer stays plausible, nothing is refused, and who searches or steals learns nothing more than the rows remembered
told. Adaptive attackers such as OARS (arXiv 2303.06280) live on seeing that they were refused; here there is nothing to
see but answers that do not move. The price is paid by honest rows near a flagged cluster: they get that answer too.
"""

import itertools
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError
from numpy.typing import NDArray

from detectors.observation import DIMENSIONS, Floats
from proxy.policy.standing import Standing
from proxy.protection.replies import OpenReply
from proxy.tensors import UndecodableTensorError, set_array, to_array

MAX_SUBJECTS = 1024
MAX_ROW_BYTES = 64 * 2**10
"""An answer to a row that is larger is not remembered."""
_TOGETHER = 1024
"""Rows that are compared at once with those that were told."""
_NOWHERE: Floats = np.zeros(DIMENSIONS, dtype=np.float32)
"""Where a row is of which nothing is known."""


@dataclass(slots=True)
class _Remembered:
    embeddings: list[Floats] = field(default_factory=list)
    answers: list["_Row"] = field(default_factory=list)


class Echo:
    """Remembers answers of subjects under silent verdicts. Memory: MAX_SUBJECTS, each a bounded number of rows."""

    def __init__(self) -> None:
        self._subjects: OrderedDict[tuple[str, str, int], _Remembered] = OrderedDict()

    def answer(
        self, path: str, body: bytes, standings: list[Standing], embeddings: Mapping[int, Floats]
    ) -> tuple[bytes, int]:
        """A reply in which rows of subjects that have been told enough are answered like their nearest earlier row.

        Args:
            path: full method name.
            body: the model's reply.
            standings: of each row.
            embeddings: of rows that are to be echoes, by their number; one without is answered like any earlier one.

        Returns:
            The reply, and how many of its rows are echoes.
        """
        try:
            reply = OpenReply(path, body)
            answers = _rows(reply, len(standings))
        except (DecodeError, UndecodableTensorError):
            return body, 0
        if answers is None:
            return body, 0
        echoed = 0
        for standing, rows in _by_subject(standings):
            held = self._held(standing.subject, path, answers.shape)
            rest = iter(rows)
            while len(held.answers) < standing.remembered and (row := next(rest, None)) is not None:
                if answers.size(row) <= MAX_ROW_BYTES:
                    held.embeddings.append(embeddings.get(row, _NOWHERE))
                    held.answers.append(answers.get(row))
            while block := list(itertools.islice(rest, _TOGETHER)):
                nearest = _nearest(np.stack([embeddings.get(row, _NOWHERE) for row in block]), held.embeddings)
                for at in np.unique(nearest).tolist():
                    answers.put(np.array(block)[nearest == at], held.answers[at])
                echoed += len(block)
        if not echoed:
            return body, 0
        answers.write()
        return reply.body(), echoed

    def _held(self, subject: str, path: str, shape: int) -> _Remembered:
        key = subject, path, shape
        held = self._subjects.setdefault(key, _Remembered())
        self._subjects.move_to_end(key)
        if len(self._subjects) > MAX_SUBJECTS:
            self._subjects.popitem(last=False)
        return held


def _by_subject(standings: Sequence[Standing]) -> list[tuple[Standing, list[int]]]:
    """The rows of each subject that are to be echoes, in their order."""
    found: dict[str, tuple[Standing, list[int]]] = {}
    for row, standing in enumerate(standings):
        if standing.echoes:
            found.setdefault(standing.subject, (standing, []))[1].append(row)
    return list(found.values())


def _nearest(embeddings: Floats, told: Sequence[Floats]) -> NDArray[np.intp]:
    """Which of those that were told (k, each DIMENSIONS) is nearest to each of (rows, DIMENSIONS)."""
    others = np.stack(told)
    found: NDArray[np.intp] = ((others**2).sum(axis=1) - 2 * embeddings @ others.T).argmin(axis=1)
    return found


_Row = Any
"""The answer to one row: arrays by output, or messages by result."""


@dataclass(slots=True)
class _Answers:
    """The rows of a reply: arrays of a Predict, or lists of messages."""

    reply: OpenReply
    arrays: dict[str, NDArray[Any]]
    lists: list[Any]

    @property
    def shape(self) -> int:
        """Replies whose rows can stand for each other have the same."""
        arrays = sorted((name, array.dtype.str, array.shape[1:]) for name, array in self.arrays.items())
        return hash((tuple(arrays), len(self.lists)))

    def size(self, row: int) -> int:
        """Bytes of a row, about."""
        total = sum(int(each[row].ByteSize()) for each in self.lists)
        for array in self.arrays.values():
            strings = array.dtype == object
            total += sum(map(len, array[row : row + 1].ravel().tolist())) if strings else array[row].nbytes
        return total

    def get(self, row: int) -> _Row:
        """A copy of a row."""
        messages = []
        for each in self.lists:
            message = type(each[row])()
            message.CopyFrom(each[row])
            messages.append(message)
        return {name: np.copy(array[row]) for name, array in self.arrays.items()}, messages

    def put(self, rows: NDArray[np.int_], answer: _Row) -> None:
        """Another answer in the place of some rows."""
        arrays, messages = answer
        for name, value in arrays.items():
            self.arrays[name][rows] = value
        for each, message in zip(self.lists, messages, strict=True):
            for row in rows.tolist():
                each[row].CopyFrom(message)

    def write(self) -> None:
        """Into the reply."""
        for name, array in self.arrays.items():
            set_array(self.reply.message.outputs[name], array)


def _rows(reply: OpenReply, rows: int) -> _Answers | None:
    """None if the reply does not answer row by row."""
    if reply.method == "Predict":
        arrays = {}
        for name, proto in reply.message.outputs.items():
            array = to_array(proto)
            if array.ndim == 0 or len(array) != rows:
                return None
            arrays[name] = np.array(array)
        return _Answers(reply, arrays, [])
    lists: list[Any] = []
    for result in reply.results():
        held: Any = result.classifications if hasattr(result, "classifications") else result.regressions
        if len(held) != rows:
            return None
        lists.append(held)
    return _Answers(reply, {}, lists)
