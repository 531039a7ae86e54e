"""The statistics themselves, against independent references where there are any."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from detectors.benign import Benign
from detectors.distances import nearest_earlier, shapiro_francia
from detectors.findings import Cluster, Reading, Subject, Technique, evidence
from detectors.hardness import kolmogorov_smirnov
from detectors.novelty import Novelty, trend
from detectors.tail import Tail

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
    assert Tail.of([]).surprise(9) == 1
    assert Tail.of([]).value(3) == math.inf
    assert Tail.of([2.0] * 50).surprise(2.0) < 0.2


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


def test_novelty_is_distance_to_the_third_nearest() -> None:
    rng = np.random.default_rng(0)
    points = rng.normal(0, 1, (300, 9))
    novelty = Novelty.of(points, rng)
    assert novelty(points[0]) < 3
    far = points[0] + 20 * points.std(axis=0)
    assert novelty(far) > 40
    assert Novelty.from_json(novelty.to_json())(far) == pytest.approx(novelty(far), rel=1e-3)
    assert Novelty.of(points[:2], rng)(np.full(9, 5.0)) == 5, "with nothing to compare, the size"
    with pytest.raises(ValueError, match="coordinates"):
        Novelty.from_json({"points": [], "centre": [0.0], "spread": [1.0]})


def test_weak_evidence_adds_up_at_the_price_of_a_decade() -> None:
    def reading(detector: str, cluster: Cluster | None = None) -> Reading:
        return Reading(detector, "s", Subject("caller", "c"), Technique.EVASION, 1, 0, 0, 1, 1, cluster)

    near = Cluster(np.zeros((1, 64), np.float32), 0.1)
    assert evidence([]) == 0
    assert evidence([(reading("a"), 2.5)]) == 2.5
    assert evidence([(reading("a"), 2.0), (reading("b"), 2.5), (reading("c"), 0.9)]) == 3.5
    assert evidence([(reading("a", near), 2.0), (reading("b", near), 2.5)]) == 2.5, "both look at near rows"
