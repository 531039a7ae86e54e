"""The provenance graph: each new row is joined to the earlier rows that it is near to, whoever sent them.

The idea is that of query provenance analysis (arXiv 2405.20641): not one near pair decides but the sequence that grows
out of near pairs. What is near, an `Index` says. An exact repeat adds nothing: retries and polling are no search.
"""

from collections import Counter, OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from detectors.observation import Features, Observation
from detectors.rows import RecentRows, Serials
from detectors.traces import EVERYONE, Trace

MAX_COMPONENTS = 4096
MAX_TRACES = 8192
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


class Graph:
    """Components of near rows of one model, and the traces that parties leave in them.

    Memory: a label for each of the recent rows, and MAX_COMPONENTS traces of everyone and MAX_TRACES of parties, each
    of up to 12 KB; the one that was added to longest ago goes first. A component is its trace of everyone.

    Args:
        index: says what is near.
        recent: the rows.
        prefix: of the components' ids.

    Attributes:
        dropped: components that were forgotten.
        dropped_traces: traces of parties that were.
    """

    def __init__(self, index: Index, recent: RecentRows, prefix: str) -> None:
        self.dropped = self.dropped_traces = 0
        self._index = index
        self._recent = recent
        self._prefix = prefix
        self._labels = np.full(recent.capacity, -1, dtype=np.int64)
        self._repeats = np.zeros(recent.capacity, dtype=np.bool_)
        self._components: OrderedDict[int, Trace] = OrderedDict()
        self._traces: OrderedDict[tuple[int, str], Trace] = OrderedDict()
        self._sole: OrderedDict[str, str] = OrderedDict()
        self._seen: Sequence[Observation] = ()
        self._touched: list[Trace] = []
        self._parties: list[Trace] = []
        self._joined: list[list[str]] = []

    def __len__(self) -> int:
        return len(self._components)

    @property
    def traces(self) -> int:
        """How many traces of parties are remembered."""
        return len(self._traces)

    def take(self, batch: Sequence[Observation]) -> list[Trace]:
        """Takes a batch in and gives the components that it touched. The same batch again changes nothing."""
        self._recent.take(batch)
        if batch is not self._seen:
            self._seen = batch
            self._joined = [[] for _ in batch]
            touched: dict[int, Trace] = {}
            parties: dict[int, Trace] = {}
            for part in _parts(batch, self._recent):
                for component, traces in self._take(part, batch):
                    touched[id(component)] = component
                    parties |= {id(trace): trace for trace in traces}
            self._touched, self._parties = list(touched.values()), list(parties.values())
        return self._touched

    def of_parties(self, batch: Sequence[Observation]) -> list[Trace]:
        """The traces of callers, and of groups of several, that a batch touched."""
        self.take(batch)
        return self._parties

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

    def _take(self, part: "_Part", batch: Sequence[Observation]) -> Iterator[tuple[Trace, list[Trace]]]:
        places = self._recent.places(part.batch.serials)
        self._labels[places] = part.batch.serials
        self._repeats[places] = False
        for near in self._index.take(part.batch):
            place = int(places[near.row])
            self._repeats[place] = near.repeat
            if near.repeat:  # stands for what it repeats, and adds nothing to it
                self._labels[place] = self._labels[self._recent.places(near.serials[:1])[0]]
                continue
            label = self._label(near)
            component = None if label is None else self._component(label)
            if label is None or component is None:
                continue
            self._labels[place] = label
            serial = int(part.batch.serials[near.row])
            component.add(serial, self._recent)
            observation = batch[part.of[near.row]]
            self._joined[part.of[near.row]].append(component.component)
            yield component, [self._add(label, party, serial) for party in self._several(observation)]

    def _label(self, near: Near) -> int | None:
        """The component for which most near rows speak."""
        counts = Counter(self._labels[self._recent.places(near.serials)].tolist())
        counts.pop(-1, None)
        if not counts:
            return None
        label, count = max(counts.items(), key=lambda item: (item[1], -item[0]))  # of equal ones the oldest
        return label if count >= self._index.needed else None

    def _component(self, label: int) -> Trace | None:
        """The component of a label, with its first row if it is new; None if it is forgotten, and its first row too."""
        component = self._components.get(label)
        if component is None:
            root = label % self._recent.capacity
            if self._labels[root] != label:
                return None
            component = self._components[label] = Trace(f"{self._prefix}{label}", EVERYONE)
            component.add(label, self._recent)
            self._add(label, self._recent.callers[root], label)
            if len(self._components) > MAX_COMPONENTS:
                self._components.popitem(last=False)
                self.dropped += 1
        self._components.move_to_end(label)
        return component

    def _several(self, observation: Observation) -> Iterator[str]:
        """The caller, and its groups as far as they have other callers too; a group of one is its caller."""
        yield observation.caller
        for group in observation.groups:
            if self._sole.setdefault(group, observation.caller) != observation.caller:
                self._sole[group] = ""
            self._sole.move_to_end(group)
            if not self._sole[group]:
                yield group
        while len(self._sole) > MAX_TRACES:
            self._sole.popitem(last=False)

    def _add(self, label: int, party: str, serial: int) -> Trace:
        trace = self._traces.get((label, party))
        if trace is None:
            trace = self._traces[label, party] = Trace(f"{self._prefix}{label}", party)
            if len(self._traces) > MAX_TRACES:
                self._traces.popitem(last=False)
                self.dropped_traces += 1
        self._traces.move_to_end((label, party))
        trace.add(serial, self._recent)
        return trace


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
