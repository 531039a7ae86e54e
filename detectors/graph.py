"""The provenance graph: each new row is joined to the earlier rows that it is near to, whoever sent them.

The idea is that of query provenance analysis (arXiv 2405.20641): not one near pair decides but the sequence that grows
out of near pairs. What is near, an `Index` says. An exact repeat adds nothing: retries and polling are no search.
"""

from collections import Counter, OrderedDict, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from detectors.observation import NO_CLASS, Features, Floats, Observation
from detectors.rows import RecentRows, Serials

MAX_COMPONENTS = 4096
MAX_CALLERS = 64
"""Callers of a component that are told apart."""
RECENT = 128
"""Rows of a component that its statistics are made from."""
MEMBERS = 32
"""Embeddings kept of a component: by these, later rows are known to belong to it."""
MAX_TAKEN = 512
"""Rows that are looked up together; larger batches are taken in parts."""


class Near(NamedTuple):
    """What an index found near one row of a batch.

    Attributes:
        row: its place in the batch.
        serials: of earlier rows that speak for being near; one may stand there several times.
        distance: to the nearest, in the index's own measure.
        repeat: it is an exact repeat of the first of them.
    """

    row: int
    serials: Serials
    distance: float
    repeat: bool


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows of several observations, one after the other.

    Attributes:
        features: of the rows.
        serials: of the rows, going up by one.
        owners: for each observation, the first of its rows and the one after its last, and its caller and groups.
    """

    features: Features
    serials: Serials
    owners: Sequence[tuple[int, int, Sequence[str]]]


class Index(Protocol):
    """Finds earlier rows that are near to new ones."""

    @property
    def needed(self) -> int:
        """How many of `Near.serials` must speak for one component, for a row to join it."""

    def take(self, batch: Batch) -> Iterator[Near]:
        """Finds what is near to each row, earlier rows of the same batch included, and indexes the rows."""


class Link(NamedTuple):
    """One row of a component: when, whose, what the model said, and how far the nearest earlier row was."""

    time: float
    caller: str
    category: int
    margin: float
    distance: float


@dataclass(slots=True)
class Component:
    """Near rows.

    Attributes:
        id: names it.
        size: rows that ever joined.
        changed: rows that joined since it was last read.
        first: time of the first row.
        root: class of the first row.
        links: the latest rows, oldest first.
        callers: rows by caller.
        members: embeddings, of the first row and of the latest.
    """

    id: str
    size: int = 0
    changed: int = 0
    first: float = 0.0
    root: int = NO_CLASS
    links: deque[Link] = field(default_factory=lambda: deque(maxlen=RECENT))
    callers: Counter[str] = field(default_factory=Counter)
    members: list[Floats] = field(default_factory=list)

    def add(self, link: Link, embedding: Floats) -> None:
        """A row more."""
        if not self.links:
            self.first, self.root = link.time, link.category
        self.size += 1
        self.changed += 1
        self.links.append(link)
        if link.caller in self.callers or len(self.callers) < MAX_CALLERS:
            self.callers[link.caller] += 1
        if len(self.members) < MEMBERS:
            self.members.append(embedding)
        else:
            self.members[1 + self.size % (MEMBERS - 1)] = embedding

    def distances(self) -> NDArray[np.float64]:
        """Of the latest rows from what they were near to, where that is known."""
        return np.array([link.distance for link in self.links if link.distance > 0])

    def margins(self) -> NDArray[np.float64]:
        """Of the latest rows, as seen from the class of the first: negative where the class is another."""
        signed = [link.margin if link.category == self.root else -link.margin for link in self.links]
        known: NDArray[np.float64] = np.array(signed)[np.isfinite(signed)]
        return known


class Graph:
    """Components of near rows of one model, and who takes part in them.

    Memory: a label for each of the recent rows, and MAX_COMPONENTS components; the one that was joined longest ago goes
    first.

    Args:
        index: says what is near.
        recent: the rows.
        prefix: of the components' ids.

    Attributes:
        dropped: components that were forgotten.
    """

    def __init__(self, index: Index, recent: RecentRows, prefix: str) -> None:
        self.dropped = 0
        self._index = index
        self._recent = recent
        self._prefix = prefix
        self._labels = np.full(recent.capacity, -1, dtype=np.int64)
        self._repeats = np.zeros(recent.capacity, dtype=np.bool_)
        self._components: OrderedDict[int, Component] = OrderedDict()
        self._seen: Sequence[Observation] = ()
        self._touched: list[Component] = []
        self._joined: list[list[str]] = []

    def __len__(self) -> int:
        return len(self._components)

    def take(self, batch: Sequence[Observation]) -> list[Component]:
        """Takes a batch in and gives the components that it touched. The same batch again changes nothing."""
        self._recent.take(batch)
        if batch is not self._seen:
            self._seen = batch
            self._joined = [[] for _ in batch]
            touched: dict[int, None] = {}
            for part in _parts(batch, self._recent):
                touched |= dict.fromkeys(self._take(part))
            self._touched = [self._components[label] for label in touched if label in self._components]
        return self._touched

    def joined(self, batch: Sequence[Observation]) -> list[list[str]]:
        """The ids of the components that each observation's rows joined, one a row that did."""
        self.take(batch)
        return self._joined

    def distinct(self, serials: Serials) -> NDArray[np.bool_]:
        """Which rows are near to no earlier row."""
        return np.equal(self._labels[self._recent.places(serials)], serials)

    def repeated(self, serials: Serials) -> NDArray[np.bool_]:
        """Which rows repeat an earlier one exactly."""
        return self._repeats[self._recent.places(serials)]

    def _take(self, part: "_Part") -> list[int]:
        places = self._recent.places(part.batch.serials)
        self._labels[places] = part.batch.serials
        self._repeats[places] = False
        touched = []
        for near in self._index.take(part.batch):
            place = int(places[near.row])
            self._repeats[place] = near.repeat
            if near.repeat:  # stands for what it repeats, and adds nothing to it
                self._labels[place] = self._labels[self._recent.places(near.serials[:1])[0]]
                continue
            label = self._label(near)
            if label is not None and self._join(label, place, near.distance):
                touched.append(label)
                self._joined[part.of[near.row]].append(self._components[label].id)
        return touched

    def _label(self, near: Near) -> int | None:
        """The component for which most near rows speak."""
        labels = self._labels[self._recent.places(near.serials)]
        labels = labels[labels >= 0]
        if len(labels) < self._index.needed:
            return None
        if len(labels) == 1:
            return int(labels[0])
        found, counts = np.unique(labels, return_counts=True)
        best = int(counts.argmax())
        return int(found[best]) if counts[best] >= self._index.needed else None

    def _join(self, label: int, place: int, distance: float) -> bool:
        component = self._components.get(label)
        if component is None:
            root = label % self._recent.capacity
            if self._labels[root] != label:
                return False  # the component is forgotten, and so is its first row
            component = self._components[label] = Component(f"{self._prefix}{label}")
            component.add(self._link(root, np.nan), self._recent.embeddings[root].copy())
            if len(self._components) > MAX_COMPONENTS:
                self._components.popitem(last=False)
                self.dropped += 1
        self._components.move_to_end(label)
        component.add(self._link(place, distance), self._recent.embeddings[place].copy())
        self._labels[place] = label
        return True

    def _link(self, place: int, distance: float) -> Link:
        recent = self._recent
        return Link(
            float(recent.times[place]),
            recent.callers[place],
            int(recent.classes[place]),
            float(recent.margins[place]),
            distance,
        )


class _Part(NamedTuple):
    """A batch, and which observation each of its rows is of."""

    batch: Batch
    of: list[int]


def _parts(observations: Sequence[Observation], recent: RecentRows) -> Iterator[_Part]:
    """The rows that were taken last, in parts of at most MAX_TAKEN."""
    features = recent.features
    first = recent.count - len(features)
    of = [at for at, observation in enumerate(observations) for _ in range(observation.rows)]
    for begin in range(0, len(of), MAX_TAKEN):
        part = of[begin : begin + MAX_TAKEN]
        owners: list[tuple[int, int, Sequence[str]]] = []
        at = 0
        for place, own in groupby(part):
            end = at + sum(1 for _ in own)
            owners.append((at, end, (observations[place].caller, *observations[place].groups)))
            at = end
        rows = slice(begin, begin + len(part))
        yield _Part(Batch(features[rows], np.arange(first + begin, first + begin + len(part)), owners), part)
