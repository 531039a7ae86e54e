"""The course of a trace in numbers: how its rows lie and follow each other, and what their answers had to do with it.

Cameras and sensors make near rows too. Their rows lie around one scene (noise in all directions) or along a path (a
camera that moves), evenly spaced, and no answer changes what comes next. Searches go on from the rows whose answers
were better, halve distances, and take large steps before small ones.
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from detectors.observation import Floats
from detectors.rows import RecentRows
from detectors.traces import Trace

SAME = 1e-6
"""Distances up to this are rounding: embeddings are float32, of length about 1."""
FOURTH = 3
THIRD = 2
MOVED = 1e-6
"""The least change of a margin that is one."""


class Course(NamedTuple):
    """What is read off a trace. All logarithms are to the base 2 but for the decades.

    Attributes:
        closeness: -log of the fourth smallest distance to the nearest earlier row. Sensors have a noise floor and 8-bit
            steps; finite differences and bisections go below it.
        selection: decades (-log10 of Fisher's exact p) by which the rows with a lower margin than the row that they
            came from are the ones that later rows come from. In a descent accepted rows have children and others have
            none; a camera does not know the answers.
        spacing: log of the median distance to the nearest earlier row.
        dimension: log of the participation ratio of the rows' principal components: noise fills all directions, a path
            one.
        reach: log of how far rows are from their mean, at most, in units of the median distance.
        unevenness: standard deviation of the logarithms of the distances.
        leap: log of the third largest distance over the median.
        order: share of rows to which the one before is the nearest.
        flips: share of rows whose class is not that of the one before.
        rows: how many it was read off.
    """

    closeness: float
    selection: float
    spacing: float
    dimension: float
    reach: float
    unevenness: float
    leap: float
    order: float
    flips: float
    rows: int


def course(trace: Trace, recent: RecentRows, size: int) -> Course | None:
    """Reads a trace as it was at a size; None if its rows are all the same but for rounding, or too few are left."""
    serials = trace.kept(recent, size)
    count = len(serials)
    nearest, links = trace.links(count, size)
    apart = nearest[nearest > SAME]
    if len(apart) <= FOURTH:
        return None
    places = serials % recent.capacity
    rows = recent.embeddings[places]
    rows = rows - rows.mean(axis=0)
    squares = np.einsum("ij,ij->i", rows, rows)
    ordered, logs = np.sort(apart), np.log2(apart)
    median = float(np.median(apart))
    parents = np.searchsorted(serials, links)
    known = links >= serials[0]
    classes = recent.classes[places]
    return Course(
        closeness=-math.log2(ordered[FOURTH]),
        selection=_selection(trace.signed_margins(recent, size), parents, known),
        spacing=math.log2(median),
        dimension=math.log2(max(1.0, float(squares.sum()) ** 2 / max(_squared(rows), 1e-30))),
        reach=0.5 * math.log2(max(float(squares.max()), 1e-30)) - math.log2(median),
        unevenness=float(logs.std()),
        leap=math.log2(ordered[-1 - THIRD] / median),
        order=float((parents[known] == np.flatnonzero(known) - 1).mean()) if known.any() else 0.0,
        flips=float((classes[1:] != classes[:-1]).mean()),
        rows=count,
    )


def _squared(rows: Floats) -> float:
    """The sum of the squared eigenvalues of the rows' scatter matrix, by the smaller of its two Gram matrices."""
    gram = rows @ rows.T if len(rows) < rows.shape[1] else rows.T @ rows
    return float(np.vdot(gram, gram))


def _selection(margins: NDArray[np.float64], parents: NDArray[np.int64], known: NDArray[np.bool_]) -> float:
    has_children = np.zeros(len(margins), dtype=np.bool_)
    has_children[parents[known]] = True
    # The first row has no parent, and the last no time to have children.
    judged = np.flatnonzero(known)[: -1 if known.size and known[-1] else None]
    if len(judged) < 2:
        return 0.0
    fell = margins[judged] - margins[parents[judged]] < -MOVED
    return associated(fell, has_children[judged])


def associated(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    """-log10 of Fisher's exact p (one-sided, mid-p) that one goes with the other no more than by chance."""
    count, ones, others = len(one), int(one.sum()), int(other.sum())
    both = int((one & other).sum())
    if not 0 < ones < count or not 0 < others < count:
        return 0.0
    most = min(ones, others)
    logs = [_log_choose(ones, at) + _log_choose(count - ones, others - at) for at in range(both, most + 1)]
    total = _log_choose(count, others)
    probability = sum(math.exp(each - total) for each in logs) - 0.5 * math.exp(logs[0] - total)
    return -math.log10(max(probability, 1e-30))


def _log_choose(count: int, chosen: int) -> float:
    if not 0 <= chosen <= count:
        return -math.inf
    return math.lgamma(count + 1) - math.lgamma(chosen + 1) - math.lgamma(count - chosen + 1)
