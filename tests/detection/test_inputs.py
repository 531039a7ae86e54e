"""Any request becomes arrays of its rows, or says that it has none."""

import numpy as np
import pytest

from detectors.features import Extractor
from detectors.observation import NO_CLASS
from protos import serving_pb2 as serving
from protos import tensor_pb2 as tensor
from proxy.codec import decode
from proxy.config.detection import Detection
from proxy.detection.answers import answers
from proxy.detection.inputs import arrays, usable, worth_looking
from proxy.detection.sightings import Sighting, observations
from tests.protection.toy import SERVICE, X, example, predict_request, strings


def opened(method: str, request: object, *wanted: str) -> tuple[dict[str, np.ndarray], int]:
    decoded = decode(SERVICE + method, request.SerializeToString())  # type: ignore[attr-defined]  # any message
    assert decoded is not None
    return arrays(decoded, wanted)


def test_tensors_and_those_that_are_wanted() -> None:
    request = predict_request(x=X, note=strings(b"a", b"b"))
    found, rows = opened("Predict", request)
    assert (sorted(found), rows) == (["note", "x"], 2)
    np.testing.assert_array_equal(found["x"], X)
    assert sorted(opened("Predict", request, "x")[0]) == ["x"]


def test_examples_their_shared_context_and_ragged_features() -> None:
    request = serving.ClassificationRequest()
    held = request.input.example_list_with_context
    held.examples.extend([example([1, 2, 3, 4]), example([5, 6, 7, 8]), example([9, 9])])
    held.examples.add()
    held.context.CopyFrom(example([0, 0, 0, 1], unit=7))
    found, rows = opened("Classify", request)
    assert rows == 4
    np.testing.assert_array_equal(found["unit"], [[7], [7], [7], [7]])
    assert found["x"].dtype == object, "one row has another length"
    assert len(set(found["x"].tolist())) == 4
    del held.examples[2]
    np.testing.assert_array_equal(opened("Classify", request)[0]["x"], [[1, 2, 3, 4], [5, 6, 7, 8], [0, 0, 0, 1]])


def test_rows_have_a_digest_of_a_context_that_would_make_far_more_of_them() -> None:
    request = serving.ClassificationRequest()
    held = request.input.example_list_with_context
    for _ in range(500):
        held.examples.add()
    held.examples[0].CopyFrom(example([1.0] * 2000))
    held.context.CopyFrom(example([0.5] * 2000))
    found, rows = opened("Classify", request)
    assert rows == 500
    own, *shared = found["x"].tolist()
    assert len(own) > 8000
    assert set(map(len, shared)) == {16}
    assert len(set(shared)) == 1
    held.context.CopyFrom(example([0.25] * 2000))
    assert opened("Classify", request)[0]["x"].tolist()[1] != shared[0]
    del held.examples[20:]
    np.testing.assert_array_equal(opened("Classify", request)[0]["x"][[0, 1, 19], 7], [1, 0.25, 0.25])


def test_serialized_examples_are_opened_for_a_feature_that_is_named() -> None:
    packed = strings(*(example(row).SerializeToString() for row in X.tolist()))
    found, rows = opened("Predict", predict_request(x=packed), "x")
    assert rows == 2
    assert found["x"].dtype == object, "an input of that name is taken as it is"
    found, rows = opened("Predict", predict_request(examples=packed), "x")
    np.testing.assert_array_equal(found["x"], X)


def test_labels_in_any_order_are_the_class() -> None:
    reply = serving.ClassificationResponse()
    for order in ((("cat", 0.7), ("dog", 0.3)), (("dog", 0.3), ("cat", 0.7)), (("dog", 0.9), ("cat", 0.1))):
        row = reply.result.classifications.add()
        for label, score in order:
            row.classes.add(label=label, score=score)
    found = answers(SERVICE + "Classify", reply.SerializeToString(), 3, Detection())
    assert found is not None
    assert found.classes[0] == found.classes[1] != found.classes[2]
    np.testing.assert_allclose(found.margins, [0.4, 0.4, 0.8], atol=1e-6)
    lost = answers(SERVICE + "Classify", reply.SerializeToString(), 2, Detection())
    assert lost is not None
    assert lost.classes.tolist() == [NO_CLASS, NO_CLASS], "answers that are not row by row say nothing of a row"
    assert answers(SERVICE + "Classify", b"\xff", 2, Detection()) is None


def test_rows_without_values_and_rows_of_next_to_nothing_take_no_memory() -> None:
    request = serving.PredictRequest()
    proto = request.inputs["x"]
    proto.dtype = tensor.DT_FLOAT
    proto.float_val.append(1)
    for size in (10**9, 0):
        proto.tensor_shape.dim.add(size=size)
    lost: list[tuple[str, int]] = []
    call = Sighting(0, "a", (), "m", "", SERVICE + "Predict", 10**9, 0, request.SerializeToString(), b"")
    assert observations([call], Extractor(bytes(16)), Detection(), lambda *said: lost.append(said)) == []
    assert lost == [("request", 10**9)]

    del proto.tensor_shape.dim[1]  # a value that repeats
    decoded = decode(SERVICE + "Predict", request.SerializeToString())
    assert decoded is not None
    assert usable(decoded, ()) is None

    proto.dtype, proto.tensor_shape.dim[0].size, proto.tensor_content = tensor.DT_UINT8, 10**6, bytes(10**6)
    decoded = decode(SERVICE + "Predict", request.SerializeToString())
    assert decoded is not None
    assert usable(decoded, ()) is not None
    assert worth_looking(decoded, ()) is None


def test_so_many_texts_are_not_looked_at() -> None:
    text = np.array([b"a"], dtype=object)
    with pytest.raises(ValueError, match="65 inputs"):
        Extractor(bytes(16))({str(number): text for number in range(65)}, 1)
