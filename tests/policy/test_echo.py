"""Rows under a silent verdict are answered as the nearest of those that were told; others keep their own answers."""

import numpy as np

from detectors.observation import DIMENSIONS
from protos import serving_pb2 as serving
from proxy.policy.echo import Echo
from proxy.policy.standing import CLEAR, Standing
from proxy.tensors import to_array
from tests.protection.toy import SERVICE, proto, strings


def test_each_subject_has_its_own_answers_numbers_and_strings_alike() -> None:
    reply = serving.PredictResponse()
    reply.outputs["text"].CopyFrom(proto(strings(*(b"%d" % row for row in range(7)))))
    reply.outputs["pair"].CopyFrom(proto(np.arange(14, dtype=np.float32).reshape(7, 2)))
    a, b = Standing("block", subject="a", remembered=2), Standing("coarsen", subject="b", remembered=1)
    standings = [a, CLEAR, a, b, a, a, b]
    places = {0: 0, 2: 10, 3: 5, 4: 9, 6: 50}  # of row 5 nothing is known: it is nearest to 0
    embeddings = {row: np.full(DIMENSIONS, place, dtype=np.float32) for row, place in places.items()}
    body, echoed = Echo().answer(SERVICE + "Predict", reply.SerializeToString(), standings, embeddings)
    assert echoed == 3
    found = {name: to_array(each).tolist() for name, each in serving.PredictResponse.FromString(body).outputs.items()}
    assert found["text"] == [b"0", b"1", b"2", b"3", b"2", b"0", b"3"]
    assert found["pair"] == [[2 * int(row), 2 * int(row) + 1] for row in found["text"]]
