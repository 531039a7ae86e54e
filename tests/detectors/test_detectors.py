"""Each detector finds what it is for, leaves alone what it should, and stays within its bounds."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from detectors.calibration import CalibrationError, batches, blamed, calibrate
from detectors.detector import DetectorStats
from detectors.engine import DETECTORS, Engine
from detectors.findings import Finding, Reading, Subject, Technique
from detectors.hardness import EVERYBODY
from detectors.observation import Observation
from detectors.profile import Profile, ProfileError
from detectors.rows import RecentRows
from detectors.workloads import KINDS, benign
from tests.detectors.made import SALT, natural, observed, sent, traffic, walk


@pytest.fixture(scope="module")
def profile() -> Profile:
    """Learned from an hour of 300 benign callers."""
    return calibrate(traffic(300, 1), "m", SALT, 0.01, np.random.default_rng(0))


def findings(profile: Profile, observations: list[Observation]) -> list[Finding]:
    engine = Engine(profile)
    return [finding for batch in batches(observations) for finding in engine.see(batch)]


def strongest(found: list[Finding], detector: str) -> float:
    return max((each.surprise for each in found if each.reading.detector == detector), default=0.0)


def test_benign_callers_held_apart_are_left_alone(profile: Profile) -> None:
    alone = [each for each in findings(profile, traffic(300, 2)) if each.alone]
    assert len({caller for each in alone for caller in blamed(each.reading)}) <= 9, (
        "3 %, at a rate of 1 % calibrated on 300"
    )


def test_a_boundary_walk_is_found_whoever_sends_it(profile: Profile) -> None:
    asked = walk(np.random.default_rng(3))
    one = findings(profile, sent(asked))
    many = findings(profile, [observed(rows, at / 10, f"sybil{at % 20}") for at, rows in enumerate(asked)])
    for found in (one, many):
        clusters = [each for each in found if each.alone and each.reading.subject.kind == "cluster"]
        assert clusters, "found"
        assert min(each.reading.seen for each in clusters) <= 100
        assert clusters[0].reading.cluster is not None
    spread = max(len(each.reading.cluster.callers) for each in many if each.reading.cluster is not None)
    assert spread > 10


def test_exact_repeats_are_no_search(profile: Profile) -> None:
    row = natural(1, np.random.default_rng(4))
    assert not findings(profile, sent([row] * 500))


def test_rows_of_another_domain_are_found(profile: Profile) -> None:
    rng = np.random.default_rng(5)
    foreign = rng.uniform(-9, 9, (300, 12)).astype(np.float32)
    found = findings(profile, sent([foreign[at : at + 4] for at in range(0, 300, 4)]))
    assert strongest(found, "hardness") > 2
    assert any(each.alone and each.reading.technique is Technique.EXTRACTION for each in found)


def test_a_theft_spread_thinly_is_reported_and_nobody_is_blamed(profile: Profile) -> None:
    foreign = np.random.default_rng(15).uniform(-9, 9, (1500, 12)).astype(np.float32)
    found = findings(profile, [observed(foreign[at : at + 1], at / 10, f"one-row-{at}") for at in range(1500)])
    pooled = [each for each in found if each.reading.subject == EVERYBODY]
    assert max(each.surprise for each in pooled) == 2, "worth a report"
    assert not any(each.alone for each in pooled)


def test_many_neighbourhoods_and_a_climb_are_read(profile: Profile) -> None:
    rng = np.random.default_rng(6)
    probed = [
        row + rng.normal(0, 0.01, (1, 12)).astype(np.float32) for row in natural(40, rng)[:, None] for _ in range(6)
    ]
    found = findings(profile, sent(probed))
    assert any(each.reading.statistic == "search_progress.neighbourhoods" for each in found)
    start = np.full((1, 12), 0.1, np.float32)
    climbing = [start + np.eye(1, 12, 0, dtype=np.float32) * np.float32(0.01 * at) for at in range(100)]
    readings = [each for batch in batches(sent(climbing)) for each in Engine(profile).readings(batch)]
    assert max(each.value for each in readings if each.statistic == "search_progress.climb") > 10


def test_a_group_is_read_once_it_has_several_callers(profile: Profile) -> None:
    rng = np.random.default_rng(7)
    rows = natural(1200, rng)
    alone = [observed(rows[at : at + 1], at / 10, "one", "owner:a") for at in range(600)]
    shared = [observed(rows[at : at + 1], at / 10, f"name{at % 30}", "owner:b") for at in range(1200)]
    engine = Engine(profile)
    kinds: Counter[str] = Counter()
    for batch in batches(alone):
        kinds.update(
            reading.subject.id
            for reading in engine.readings(batch)
            if reading.subject.kind != "cluster" and reading.subject != EVERYBODY
        )
    assert set(kinds) == {"one"}
    readings = [each for batch in batches(shared) for each in engine.readings(batch)]
    budgets = {each.subject: each.value for each in readings if each.statistic == "extraction_monitor.budget"}
    assert budgets[Subject("group", "owner:b")] > 8.5, "twelve hundred rows under thirty names"


def test_the_surrogate_learns_and_says_how_much(profile: Profile) -> None:
    rows = natural(3000, np.random.default_rng(8))
    engine = Engine(profile)
    for batch in batches(sent([rows[at : at + 10] for at in range(0, 3000, 10)])):
        engine.see(batch)
    progress = engine.stats()["extraction_monitor"].gauges["extraction_progress"]
    assert 0.6 < progress <= 1


def test_what_was_spent_long_ago_counts_half(profile: Profile) -> None:
    rows = natural(600, np.random.default_rng(9))
    engine = Engine(profile)

    def spent(observations: list[Observation]) -> float:
        found = [each for batch in batches(observations) for each in engine.readings(batch)]
        return max(each.value for each in found if each.statistic == "extraction_monitor.budget")

    first = spent(sent([rows[:256], rows[256:300]]))
    later = spent(sent([rows[300:400]], start=2 * 86_400.0))
    assert later < first


def test_batches_of_any_size_give_the_same_components(profile: Profile) -> None:
    asked = sent(walk(np.random.default_rng(10)))
    whole, single = Engine(profile), Engine(profile)
    one = [each.reading.subject for each in whole.see(asked)]
    other = [finding.reading.subject for each in asked for finding in single.see([each])]
    whole_ids, single_ids = ({each.id for each in found if each.kind == "cluster"} for found in (one, other))
    assert whole_ids
    assert whole_ids <= single_ids

    def courses(batches: list[list[Observation]]) -> dict[tuple[str, int], float]:
        engine = Engine(profile)
        return {
            (each.statistic, each.seen): each.value
            for batch in batches
            for each in engine.readings(batch)
            if each.detector == "pooled_provenance" and "spread" not in each.statistic
        }

    assert courses([asked]) == courses([[each] for each in asked]), "a trace is read at the same sizes"
    joined = np.concatenate(walk(np.random.default_rng(10)))
    assert Engine(profile).see([observed(joined, 0, "in one call")]), "many near rows in one call are found as well"


def test_memory_stays_within_its_bounds(profile: Profile) -> None:
    rng = np.random.default_rng(11)
    engine = Engine(profile)
    for turn in range(60):
        rows = rng.normal(0, 1, (300, 12)).astype(np.float32)
        engine.see([observed(rows[at : at + 1], turn * 300 + at, f"c{turn}-{at}") for at in range(300)])
    stats = engine.stats()
    tracked = {name: each.tracked for name, each in stats.items()}
    assert tracked["distance_distribution"]["parties"] <= 8192
    assert stats["distance_distribution"].dropped["parties"] > 0
    assert tracked["pooled_provenance"]["components"] <= 4096


def test_the_ring_forgets_the_oldest() -> None:
    recent = RecentRows(capacity=8)
    rows = natural(12, np.random.default_rng(0))
    serials = [recent.take([each])[0] for each in sent([rows[:5], rows[5:12]])]
    assert recent.count == 12
    assert recent.kept(np.concatenate(serials)).tolist() == [False] * 4 + [True] * 8


def test_own_detectors_are_heard_and_left_out_when_they_raise(profile: Profile) -> None:
    class Loud:
        name = "loud"

        def __init__(self, patience: int) -> None:
            self.patience = patience

        def see(self, batch: Sequence[Observation]) -> list[Reading]:
            self.patience -= 1
            if self.patience < 0:
                raise RuntimeError("enough")
            return [Reading("loud", "loud.noise", Subject("caller", "a"), Technique.EVASION, 2.5, 0, 0, 1, 1)]

        def stats(self) -> DetectorStats:
            return DetectorStats()

    failed: list[tuple[str, str]] = []
    loud = Loud(1)
    engine = Engine(profile, [loud], off=DETECTORS, failed=lambda name, error: failed.append((name, str(error))))
    batch = sent([natural(1, np.random.default_rng(0))])
    assert [(each.surprise, each.alone) for each in engine.see(batch)] == [(2.5, False)], "decades, until calibrated"
    assert engine.see(batch) == []
    assert failed == [("loud", "enough")]


def test_a_profile_survives_its_file_and_refuses_others(profile: Profile, tmp_path: Path) -> None:
    path = tmp_path / "m.json"
    profile.write(path)
    assert path.stat().st_mode & 0o077 == 0, "it holds a secret"
    again = Profile.read(path)
    assert again.digest == profile.digest
    asked = sent(walk(np.random.default_rng(12)))
    assert [each.reading.subject for each in findings(again, asked)] == [
        each.reading.subject for each in findings(profile, asked)
    ]
    path.write_text(path.read_text().replace('"tensorwall_profile": 3', '"tensorwall_profile": 99'))
    with pytest.raises(ProfileError, match="format 99"):
        Profile.read(path)
    for content, said in (
        ("{", "no profile"),
        ("[]", "format None"),
        ('{"tensorwall_profile": 3}', "no whole profile"),
    ):
        path.write_text(content)
        with pytest.raises(ProfileError, match=said):
            Profile.read(path)
    with pytest.raises(ProfileError, match="cannot be read"):
        Profile.read(path / "nowhere")
    for changed, said in (
        ({"salt": b"short"}, "salt: has 5 bytes and needs 16"),
        ({"rate": 0.0}, "rate: 0.0 is no share"),
        ({"levels": {"evasion": math.nan}}, "levels: are not all above 0"),
        ({"shared": 0}, "shared: 0 is below 1"),
        ({"nearest": ((0, 0.5),)}, "do not rise from 1 on"),
        ({"nearest": ((1, 0.0),)}, "distances are not all above 0"),
        ({"benign": replace(profile.benign, bandwidth=0.0)}, "bandwidth is not above 0"),
    ):
        path = path.with_name("changed.json")
        replace(profile, **changed).write(path)
        with pytest.raises(ProfileError, match=said):
            Profile.read(path)


def test_too_little_traffic_is_told(profile: Profile) -> None:
    with pytest.raises(CalibrationError, match="at least 500 rows of 20"):
        calibrate(traffic(5, 3), "m", SALT, 0.01, np.random.default_rng(0))


def test_defaults_have_no_sample_and_name_themselves() -> None:
    defaults = Profile.defaults("m", SALT)
    assert (defaults.digest, defaults.calibrated, defaults.benign.known) == ("defaults", False, False)
    assert findings(defaults, sent(walk(np.random.default_rng(13)))), "they find something all the same"
    assert replace(defaults, calibrated=True).digest != "defaults"


def test_workloads_are_as_seeded_and_hold_all_kinds() -> None:
    rows = natural(3000, np.random.default_rng(0))
    classes = np.arange(3000) % 3
    one, same = (benign(rows, classes, 300, np.random.default_rng(5)) for _ in range(2))
    assert [(each.time, each.caller) for each in one] == [(each.time, each.caller) for each in same]
    assert {each.kind for each in one} == set(KINDS)
    assert [each.time for each in one] == sorted(each.time for each in one)
    polled = next(each.caller for each in one if each.kind == "polling")
    assert len({each.rows.tobytes() for each in one if each.caller == polled}) == 1
    images = np.random.default_rng(1).random((50, 28, 28, 1)).astype(np.float32)
    seen = [
        each.rows for each in benign(images, np.arange(50) % 3, 60, np.random.default_rng(2)) if each.kind == "frames"
    ]
    assert all(np.allclose(each * 255, np.round(each * 255), atol=1e-3) for each in seen), "eight bits"


def test_frames_keep_the_range_of_the_images_and_leave_text_as_it_is() -> None:
    images = (np.random.default_rng(1).random((50, 28, 28, 1)) * 255).astype(np.uint8)
    texts = np.array([b"row %d" % at for at in range(50)], dtype=object)

    def sensed(rows: Any) -> Any:
        calls = benign(rows, np.arange(50) % 3, 60, np.random.default_rng(2))
        return np.concatenate([each.rows for each in calls if each.kind == "frames"])

    assert set(sensed(texts)) <= set(texts)
    for rows in (images, images.astype(np.float32) / 127.5 - 1):
        seen = sensed(rows)
        assert seen.dtype == rows.dtype
        least, middle, most = np.quantile(rows.astype(float), (0, 0.5, 1))
        assert np.quantile(seen.astype(float), (0, 0.5, 1)) == pytest.approx(
            [least, middle, most], abs=(most - least) / 10
        )
