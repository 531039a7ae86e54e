"""Rules that are off or in shadow: every byte of request and reply passes as it came, whatever the encoding."""

from collections.abc import Iterator
from typing import Any

import grpc
import pytest

from protos import serving_pb2 as serving
from protos import tensor_pb2 as tensor
from tests.calls import call, open_channel
from tests.e2e.test_interop_bytes import ENCODINGS
from tests.e2e.upstream import ScriptedUpstream
from tests.processes import serving_proxy

PREDICT = "/tensorflow.serving.PredictionService/Predict"
REPLY = serving.PredictResponse(
    outputs={"p": tensor.TensorProto(dtype=tensor.DT_FLOAT, float_val=[0.25, 0.75])}
).SerializeToString() + bytes((250, 1, 1, 42))  # and a field that nobody knows


def rules(mode: str) -> dict[str, Any]:
    return {
        "inputs": {"x": {"mode": mode, "range": [0, 1], "steps": [{"kind": "bit_depth", "bits": 1}]}},
        "outputs": {"p": {"mode": mode, "semantics": "probabilities", "steps": [{"kind": "label_only"}]}},
        "limits": [{"by": "caller", "rate": "1/h", "mode": mode}],
    }


@pytest.fixture(scope="module", params=["off", "shadow"])
def passed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with ScriptedUpstream() as upstream:
        upstream.answer("/tensorflow.serving.ModelService/GetModelStatus", _available())
        upstream.answer(PREDICT, REPLY)
        models = {"m": rules(request.param)}
        with (
            serving_proxy(tmp_path_factory.mktemp("off"), upstream.address, models=models) as proxy,
            open_channel(proxy.address) as channel,
        ):
            yield upstream, channel


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_every_encoding_passes_byte_for_byte(passed: tuple[ScriptedUpstream, grpc.Channel], encoding: str) -> None:
    upstream, channel = passed
    request = serving.PredictRequest(inputs={"x": ENCODINGS[encoding]})
    request.model_spec.name = "m"
    body = request.SerializeToString() + bytes((250, 1, 1, 42))
    answer = call(channel, PREDICT, body)
    assert upstream.last().body == body
    assert answer.body == REPLY


def _available() -> bytes:
    status = serving.ModelVersionStatus(version=1, state=serving.ModelVersionStatus.AVAILABLE)
    return serving.GetModelStatusResponse(model_version_status=[status]).SerializeToString()
