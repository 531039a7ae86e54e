"""The clusters of near rows on which verdicts stand, as the path compares rows with them."""

from collections import OrderedDict

import numpy as np
from numpy.typing import NDArray

from detectors.observation import Floats
from proxy.policy.verdict import Verdict

MAX_CLUSTERS = 256
"""Clusters that rows are compared with, each with some tens of members."""
AT_ONCE = 2**18
"""Pairs of a row and a member that are compared at once: a megabyte for each number that is kept of them."""


class Clusters:
    """Members of one model's clusters, in one matrix; the one without new evidence for longest is forgotten first."""

    def __init__(self) -> None:
        self._held: OrderedDict[str, tuple[Verdict, Floats, float]] = OrderedDict()
        self._members: Floats = np.zeros((0, 0), dtype=np.float32)
        self._radii: Floats = np.zeros(0, dtype=np.float32)
        self._owners: list[Verdict] = []
        self._stale = False

    def __len__(self) -> int:
        return len(self._held)

    def put(self, verdict: Verdict, members: Floats, radius: float) -> None:
        """Takes a cluster's members in their present state."""
        self._held[verdict.id] = verdict, members, radius
        self._held.move_to_end(verdict.id)
        if len(self._held) > MAX_CLUSTERS:
            self._held.popitem(last=False)
        self._stale = True

    def forget(self, verdict_id: str) -> None:
        """Leaves one out."""
        if self._held.pop(verdict_id, None) is not None:
            self._stale = True

    def of(self, embeddings: Floats) -> list[Verdict | None]:
        """The verdict on the cluster that each row (n, DIMENSIONS) belongs to, None for rows of none."""
        if self._stale:
            self._members = np.concatenate([members for _, members, _ in self._held.values()] or [embeddings[:0]])
            self._radii = np.concatenate(
                [np.full(len(members), radius, np.float32) for _, members, radius in self._held.values()]
                or [np.zeros(0, np.float32)]
            )
            self._owners = [verdict for verdict, members, _ in self._held.values() for _ in members]
            self._stale = False
        if not self._owners:
            return [None] * len(embeddings)
        rows = max(1, AT_ONCE // len(self._owners))
        return [found for at in range(0, len(embeddings), rows) for found in self._of(embeddings[at : at + rows])]

    def _of(self, embeddings: Floats) -> list[Verdict | None]:
        squares: NDArray[np.float32] = (
            (embeddings**2).sum(axis=1)[:, np.newaxis]
            + (self._members**2).sum(axis=1)
            - 2 * embeddings @ self._members.T
        )
        ratios = np.sqrt(squares.clip(0)) / self._radii
        nearest = ratios.argmin(axis=1)
        near = ratios[np.arange(len(ratios)), nearest] <= 1
        return [self._owners[at] if is_near else None for at, is_near in zip(nearest.tolist(), near, strict=True)]
