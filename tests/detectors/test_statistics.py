"""The statistics themselves, against independent references where there are any."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from detectors.benign import Benign
from detectors.course import Course, associated, course
from detectors.distances import nearest_earlier, shapiro_francia
from detectors.findings import Cluster, Reading, Subject, Technique, evidence
from detectors.hardness import kolmogorov_smirnov
from detectors.novelty import Novelty, trend
from detectors.observation import DIMENSIONS, FINGERPRINT, Answers, Features, Observation
from detectors.rows import RecentRows
from detectors.tail import Tail
from detectors.traces import Trace

floats = st.floats(-1e3, 1e3)


@given(st.lists(floats, min_size=1, max_size=300), floats, floats)
def test_a_larger_value_is_no_less_surprising(values: list[float], one: float, other: float) -> None:
    tail = Tail.of(values)
    low, high = sorted((one, other))
    assert 0 <= tail.surprise(low) <= tail.surprise(high)


@given(st.lists(floats, min_size=30, max_size=300, unique=True), st.floats(0.5, 6))
def test_value_and_surprise_are_inverse(values: list[float], surprise: float) -> None:
    tail = Tail.of(values)
    assert tail.surprise(tail.value(surprise) + 1e-6 * (1 + abs(tail.value(surprise)))) >= surprise - 0.11


def test_a_tail_says_what_share_reads_as_much() -> None:
    values = np.random.default_rng(0).exponential(1, 20_000)
    tail = Tail.of(values)
    for share in (0.1, 0.01, 0.001):
        assert tail.surprise(-math.log(share)) == pytest.approx(-math.log10(share), abs=0.2)
    assert tail.surprise(-math.log(1e-6)) == pytest.approx(6, abs=1.5), "beyond what was seen"
    silent = Tail.of(values[:1000], subjects=10_000)
    assert silent.surprise(1.0) == pytest.approx(math.log10(math.e) + 1, abs=0.1), "most read nothing at all"
    assert Tail.of([], subjects=999).surprise(9) == 2, "what no benign subject ever read is worth a report"
    assert Tail.of([]).value(3) == math.inf
    assert Tail.of([2.0] * 50).surprise(2.0) < 0.2


def test_a_tail_goes_on_as_it_was_and_a_heavier_one_more_slowly() -> None:
    rare = -np.log(np.random.default_rng(3).random(5_000))  # values of exponential tails say how rare they are
    light, heavy = Tail.of(rare), Tail.of(np.expm1(0.4 * rare))
    for decades in (4.0, 5.0):
        nats = decades * math.log(10)
        assert light.surprise(nats) == pytest.approx(decades, abs=0.5)
    assert heavy.scale > 2 * np.expm1(0.4 * rare).mean()


def test_normality_is_shapiro_and_wilks() -> None:
    rng = np.random.default_rng(0)
    for sample in (rng.normal(3, 2, 200), rng.exponential(1, 200), rng.integers(0, 2, 200).astype(float)):
        assert shapiro_francia(sample) == pytest.approx(stats.shapiro(sample).statistic, abs=0.02)
    assert shapiro_francia(np.ones(50)) == 1


def test_nearest_earlier_stays_within_a_class() -> None:
    embeddings = np.array([[0.0], [10.0], [1.0], [13.0], [3.0], [14.0]], dtype=np.float32)
    found = nearest_earlier(embeddings, np.array([0, 1, 0, 1, 0, 1]))
    np.testing.assert_allclose(found, [1 / 1.5, 2 / 1.5, 3 / 2, 1 / 2])


@given(st.integers(0, 10_000))
def test_the_gap_of_two_samples_is_scipys(seed: int) -> None:
    rng = np.random.default_rng(seed)
    one, other = rng.random(30).astype(np.float32), (rng.random(50) ** 2).astype(np.float32)
    found = kolmogorov_smirnov(one, np.sort(other), np.full(50, 1 / 50))
    assert found == pytest.approx(stats.ks_2samp(one, other).statistic, abs=1e-9)


def test_discrepancy_sees_another_domain_and_not_another_mixture() -> None:
    rng = np.random.default_rng(0)
    embeddings = rng.normal(0, 0.2, (400, 64)).astype(np.float32)
    classes = np.repeat(np.arange(4), 100).astype(np.int32)
    embeddings[np.arange(400), classes] += 2
    benign = Benign.of(embeddings, classes, rng.random(400).astype(np.float32), rng.random(400).astype(np.float32))
    one_class = rng.normal(0, 0.2, (40, 64)).astype(np.float32)
    one_class[:, 2] += 2
    foreign = one_class + np.float32(0.5)
    weights = benign.weights(np.full(40, 2))
    assert weights.sum() == pytest.approx(1)
    assert weights[classes == 2].sum() > 0.9
    assert benign.discrepancy(one_class, weights) < 0.5
    assert benign.discrepancy(foreign, weights) > 5 * max(0.1, benign.discrepancy(one_class, weights))
    again = Benign.from_json(benign.to_json())
    assert again.discrepancy(foreign, weights) == pytest.approx(benign.discrepancy(foreign, weights), rel=0.01)


@given(st.lists(st.floats(-1, 1), min_size=8, max_size=40, unique=True))
def test_a_trend_turns_with_the_order(values: list[float]) -> None:
    series = np.array(values)
    assert trend(series) == pytest.approx(-trend(series[::-1]))
    assert trend(np.sort(series)) >= abs(trend(series)) - 1e-9
    assert trend(series[:3]) == 0


def _course(**changed: float) -> Course:
    usual = dict.fromkeys(Course._fields, 0.0) | {"rows": 9} | changed
    return Course(**usual)  # type: ignore[arg-type]


def test_novelty_is_distance_to_the_third_nearest_in_one_view() -> None:
    rng = np.random.default_rng(0)
    novelty = Novelty.of("steps", rng.normal(0, 1, (300, 2)), rng)
    assert novelty(_course()) < 1
    far = _course(unevenness=20.0)
    assert novelty(far) > 10
    assert novelty(_course(spacing=99.0)) == novelty(_course()), "no coordinate of this view"
    assert Novelty.from_json(novelty.to_json())(far) == pytest.approx(novelty(far), rel=1e-3)
    assert Novelty.of("steps", np.zeros((2, 2)), rng)(far) == 0, "with nothing to compare"
    for wrong in ({"view": "steps", "points": [], "spread": [1.0]}, {"view": "none", "points": [], "spread": []}):
        with pytest.raises(ValueError, match="coordinates"):
            Novelty.from_json(wrong)


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=2, max_size=60))
def test_association_is_fishers(pairs: list[tuple[bool, bool]]) -> None:
    one, other = np.array(pairs).T
    both, ones, others = (one & other).sum(), one.sum(), other.sum()
    found = associated(one, other)
    if not 0 < ones < len(one) or not 0 < others < len(one):
        assert found == 0
    else:
        distribution = stats.hypergeom(len(one), ones, others)
        probability = distribution.sf(both) + 0.5 * distribution.pmf(both)
        assert found == pytest.approx(-np.log10(probability), abs=1e-6)


def _read(rows: NDArray[Any], margins: NDArray[Any], classes: NDArray[Any]) -> Course:
    count = len(rows)
    recent = RecentRows(256)
    digests = np.arange(1, count + 1, dtype=np.uint64)
    features = Features(digests, np.zeros((count, FINGERPRINT), np.uint64), rows.astype(np.float32))
    said = Answers(classes.astype(np.int32), margins.astype(np.float32), np.zeros(count, np.float32))
    serials = recent.take([Observation(0.0, "a", (), "m", "", features, said)])[0]
    trace = Trace("c", "a")
    for serial in serials.tolist():
        trace.add(serial, recent)
    found = course(trace, recent, count)
    assert found is not None
    return found


def test_a_camera_and_a_descent_take_different_courses() -> None:
    rng = np.random.default_rng(1)
    noise = rng.normal(0, 0.01, (60, DIMENSIONS))
    camera = _read(noise, rng.uniform(0.4, 0.6, 60), np.zeros(60))
    path = np.linspace(0, 1, 60)[:, None] * rng.normal(0, 1, DIMENSIONS)
    panned = _read(path, np.linspace(0.9, 0.1, 60), np.zeros(60))
    rows, margins = [np.zeros(DIMENSIONS)], [0.99]
    best, margin = rows[0], 0.99
    for _ in range(59):
        step = rng.normal(0, 1, DIMENSIONS)
        proposal = best + 0.05 * step / np.linalg.norm(step)
        found = margin + rng.choice([-0.02, 0.01, 0.01, 0.01])
        rows.append(proposal)
        margins.append(found)
        if found < margin:
            best, margin = proposal, found
    descent = _read(np.stack(rows), np.array(margins), np.zeros(60))
    assert camera.dimension > 4 > 2 > panned.dimension
    assert panned.order > 0.9 > 0.3 > camera.order
    assert camera.selection < 2
    assert panned.selection < 2
    assert descent.selection > 4
    halved = _read(np.concatenate([noise[:1] + 2.0**-at for at in range(14)]), rng.uniform(0, 1, 14), np.arange(14) % 2)
    assert halved.closeness > camera.closeness + 2
    assert halved.unevenness > 5 * camera.unevenness
    assert halved.leap > camera.leap + 1
    assert halved.flips == 1


def test_rows_that_are_the_same_but_for_rounding_have_no_course() -> None:
    recent = RecentRows(64)
    rows = np.full((9, DIMENSIONS), 0.1, np.float32)
    features = Features(np.arange(1, 10, dtype=np.uint64), np.zeros((9, FINGERPRINT), np.uint64), rows)
    said = Answers(np.zeros(9, np.int32), np.ones(9, np.float32), np.zeros(9, np.float32))
    trace = Trace("c", "a")
    for serial in recent.take([Observation(0.0, "a", (), "m", "", features, said)])[0].tolist():
        trace.add(serial, recent)
    assert course(trace, recent, 9) is None


def test_weak_evidence_adds_up_at_the_price_of_a_decade() -> None:
    def reading(detector: str, cluster: Cluster | None = None) -> Reading:
        return Reading(detector, "s", Subject("caller", "c"), Technique.EVASION, 1, 0, 0, 1, 1, cluster)

    near = Cluster(np.zeros((1, 64), np.float32), 0.1)
    assert evidence([]) == 0
    assert evidence([(reading("a"), 2.5)]) == 2.5
    assert evidence([(reading("a"), 2.0), (reading("b"), 2.5), (reading("c"), 0.9)]) == 3.5
    assert evidence([(reading("a", near), 2.0), (reading("b", near), 2.5)]) == 2.5, "both look at near rows"
