"""What is made of many calls at once is what would have been made of each."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from detectors.features import Extractor
from detectors.observation import NO_CLASS, Features, Observation
from detectors.profile import Profile
from protos import serving_pb2 as serving
from proxy.config.detection import Detection
from proxy.detection.engines import Engines, Recipe
from proxy.detection.sightings import MAX_ROWS, Sighting, observations
from tests.protection.toy import SERVICE, example, predict_request, proto, strings

EXTRACTOR = Extractor(b"0123456789abcdef")
SETTINGS = Detection()


def sighting(request: bytes, reply: bytes, rows: int = 1, method: str = "Predict") -> Sighting:
    return Sighting(1.0, "a", (), "m", "", SERVICE + method, rows, 0, request, reply)


def predicted(rows: int, width: int, seed: int, dtype: type = np.float32, name: str = "scores") -> bytes:
    reply = serving.PredictResponse()
    reply.outputs[name].CopyFrom(proto(np.random.default_rng(seed).dirichlet(np.ones(width), rows).astype(dtype)))
    reply.outputs["a_feature"].CopyFrom(proto(np.full((rows, 3), 7.0, dtype)))
    return reply.SerializeToString()


def seen(*sightings: Sighting, detection: Detection = SETTINGS) -> tuple[list[Observation], Counter[str]]:
    lost: Counter[str] = Counter()

    def told(reason: str, rows: int) -> None:
        lost[reason] += rows

    return observations(sightings, EXTRACTOR, detection, told), lost


calls = st.tuples(
    st.sampled_from([(4,), (9, 9), (12, 12, 1)]),
    st.integers(1, 40),
    st.sampled_from([np.float32, np.int64]),
    st.sampled_from(["prob", "scores"]),
    st.integers(2, 4),
)


@settings(max_examples=30)
@given(st.lists(calls, min_size=1, max_size=12))
def test_together_as_one_by_one(made: list[tuple[tuple[int, ...], int, type, str, int]]) -> None:
    sightings = []
    for seed, (shape, rows, dtype, name, width) in enumerate(made):
        values: NDArray[Any] = (np.random.default_rng(seed).random((rows, *shape)) * 200).astype(dtype)
        reply = predicted(rows, width, seed, name=name)
        sightings.append(sighting(predict_request(x=values).SerializeToString(), reply, rows))
    together, _ = seen(*sightings)
    for one, each in zip(together, sightings, strict=True):
        (alone,), _ = seen(each)
        np.testing.assert_array_equal(one.features.digests, alone.features.digests)
        np.testing.assert_array_equal(one.features.fingerprints, alone.features.fingerprints)
        np.testing.assert_allclose(one.features.embeddings, alone.features.embeddings, rtol=1e-4, atol=1e-4)
        np.testing.assert_array_equal(one.answers.classes, alone.answers.classes)
        assert one.answers.classes.min() > NO_CLASS, "another output than the first by name is the distribution"


def test_what_cannot_be_read_is_counted_and_spoils_nothing_else() -> None:
    good = sighting(predict_request(x=np.ones((2, 4), np.float32)).SerializeToString(), predicted(2, 3, 0), 2)
    no_request = sighting(b"\xff", predicted(1, 3, 0))
    no_rows = sighting(predict_request(x=np.ones((0, 4), np.float32)).SerializeToString(), predicted(1, 3, 0))
    no_reply = sighting(good.request, b"\xff", 2)
    found, lost = seen(no_request, good, no_rows, no_reply, good)
    assert [each.rows for each in found] == [2, 2]
    assert lost == {"request": 2, "reply": 2}


class _Fragile(Extractor):
    def __call__(self, inputs: Mapping[str, NDArray[Any]], rows: int) -> Features:
        if any((values == 13).any() for values in inputs.values()):
            raise TypeError("a defect")
        return super().__call__(inputs, rows)


def test_a_call_that_brings_out_a_defect_costs_its_own_rows_and_is_told() -> None:
    engines = Engines()
    profile = Profile("m", b"0123456789abcdef")
    engines.take("m", Recipe(SETTINGS, profile, 1))
    engines._models["m"].extractor = _Fragile(profile.salt)
    good, bad = (
        sighting(predict_request(x=np.full((2, 4), value, np.float32)).SerializeToString(), predicted(2, 3, 0), 2)
        for value in (1, 13)
    )
    observed = engines.observe([good, bad, good], own=True)["m"]
    assert (observed.rows, observed.lost) == (4, {"request": 2})
    assert "a defect" in observed.problem
    assert observed.seen is not None
    assert engines.observe([good], own=True)["m"].problem == ""


def test_rows_beyond_the_bound_are_counted() -> None:
    rows = MAX_ROWS + 5
    request = predict_request(x=np.random.default_rng(0).random((rows, 2)).astype(np.float32))
    (found,), lost = seen(sighting(request.SerializeToString(), predicted(rows, 2, 0), rows))
    assert (found.rows, len(found.answers.classes), lost["rows"]) == (MAX_ROWS, MAX_ROWS, 5)


def test_serialized_examples_and_other_methods() -> None:
    packed = strings(*(example(row).SerializeToString() for row in ([1, 2, 3, 4], [5, 6, 7, 8])))
    inside = sighting(predict_request(examples=packed).SerializeToString(), predicted(2, 3, 0), 2)
    request = serving.ClassificationRequest()
    request.input.example_list.examples.append(example([1, 2, 3, 4]))
    reply = serving.ClassificationResponse()
    reply.result.classifications.add().classes.add(label="cat", score=1.0)
    classified = sighting(request.SerializeToString(), reply.SerializeToString(), 1, "Classify")
    found, lost = seen(inside, classified, detection=Detection(inputs=("x",)))
    assert not lost
    assert [each.rows for each in found] == [2, 1]
    assert found[0].features.digests[0] == found[1].features.digests[0], "the same row, however it came"
