"""The clusters of near rows on which verdicts stand, as the path compares rows with them."""

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from detectors.observation import DIMENSIONS, Floats
from proxy.policy.verdict import Verdict

MAX_CLUSTERS = 256
"""Clusters that rows are compared with, each with some tens of members."""
AT_ONCE = 2**18
"""Pairs of a row and a member that are compared at once: a megabyte of distances."""


@dataclass(frozen=True, slots=True)
class Members:
    """Members of clusters, as they were at one time; rows may be compared with them on any thread.

    Attributes:
        weights: (DIMENSIONS + 2, n): an embedding, its squared length and 1, times this, are its squared distances
            from each member, in radii.
        owners: of each member, the verdict on its cluster.
    """

    weights: Floats
    owners: tuple[Verdict, ...]

    @classmethod
    def made(cls, clusters: Iterable[tuple[Verdict, Floats, float]]) -> "Members":
        """Of each cluster the verdict on it, its members (n, DIMENSIONS), and the radius around each."""
        held = list(clusters)
        owners = tuple(verdict for verdict, members, _ in held for _ in members)
        members = np.concatenate([np.zeros((0, DIMENSIONS), np.float32), *(members for _, members, _ in held)])
        radii = np.repeat([radius for *_, radius in held], [len(members) for _, members, _ in held])
        lengths = (members**2).sum(axis=1)
        weights = np.vstack([-2 * members.T, np.ones_like(lengths), lengths]) / radii**2
        return cls(weights.astype(np.float32), owners)

    def __len__(self) -> int:
        return len(self.owners)

    def size(self, rows: int) -> int:
        """Bytes that a comparison of so many rows works on."""
        return rows * len(self) * self.weights.itemsize

    def of(self, embeddings: Floats) -> list[Verdict | None]:
        """The verdict on the cluster that each row (n, DIMENSIONS) belongs to, None for rows of none."""
        if not self.owners:
            return [None] * len(embeddings)
        rows = max(1, AT_ONCE // len(self))
        return [found for at in range(0, len(embeddings), rows) for found in self._of(embeddings[at : at + rows])]

    def _of(self, embeddings: Floats) -> list[Verdict | None]:
        lengths = (embeddings**2).sum(axis=1)
        distances = np.column_stack([embeddings, lengths, np.ones_like(lengths)]) @ self.weights
        nearest = distances.argmin(axis=1)
        near = distances[np.arange(len(distances)), nearest] <= 1
        return [self.owners[at] if is_near else None for at, is_near in zip(nearest.tolist(), near, strict=True)]


NOBODY = Members.made(())
"""What rows are compared with that need not be."""


class Clusters:
    """One model's clusters; the one without new evidence for longest is forgotten first. For one thread."""

    def __init__(self) -> None:
        self._held: OrderedDict[str, tuple[Verdict, Floats, float]] = OrderedDict()
        self._members: Members | None = NOBODY

    def put(self, verdict: Verdict, members: Floats, radius: float) -> None:
        """Takes a cluster's members in their present state."""
        self._held[verdict.id] = verdict, members, radius
        self._held.move_to_end(verdict.id)
        if len(self._held) > MAX_CLUSTERS:
            self._held.popitem(last=False)
        self._members = None

    def forget(self, verdict_id: str) -> None:
        """Leaves one out."""
        if self._held.pop(verdict_id, None) is not None:
            self._members = None

    @property
    def members(self) -> Members:
        """All of them, as they are now."""
        if self._members is None:
            self._members = Members.made(self._held.values())
        return self._members
