"""What counts as an answer through the proxy: a refusal shields rows, a fault of the model does not."""

import grpc
import numpy as np
import pytest

from protos import serving_pb2 as serving
from protos.signature_pb2 import SignatureDef, TensorInfo
from protos.tensor_pb2 import DT_FLOAT
from proxy.drill.wire import PREDICT, DrillError
from proxy.retrain.through import right_through
from proxy.signatures import GET_MODEL_METADATA
from proxy.tensors import to_array
from tests.e2e.upstream import ScriptedUpstream
from tests.protection.toy import proto

ROWS = np.array([[0.9, 0.1], [0.2, 0.8], [0.7, 0.3]], np.float32)
LABELS = np.array([0, 1, 1])


@pytest.fixture
def served() -> ScriptedUpstream:
    """A model whose answers are its inputs."""
    upstream = ScriptedUpstream()
    number = TensorInfo(name="x:0", dtype=DT_FLOAT)
    number.tensor_shape.dim.add(size=-1)
    number.tensor_shape.dim.add(size=2)
    signature = SignatureDef(inputs={"x": number}, outputs={"p": number}, method_name="tensorflow/serving/predict")
    signatures = serving.SignatureDefMap(signature_def={"serving_default": signature})
    reply = serving.GetModelMetadataResponse()
    reply.metadata["signature_def"].value = signatures.SerializeToString()
    upstream.answer(GET_MODEL_METADATA, reply.SerializeToString())

    def echo(body: bytes, context: grpc.ServicerContext) -> bytes:
        del context
        answer = serving.PredictResponse()
        answer.outputs["p"].CopyFrom(proto(to_array(serving.PredictRequest.FromString(body).inputs["x"])))
        return answer.SerializeToString()

    upstream.answer(PREDICT, echo)
    return upstream


def _refusing(upstream: ScriptedUpstream, code: grpc.StatusCode) -> None:
    def refuse(body: bytes, context: grpc.ServicerContext) -> bytes:
        context.abort(code, "no")
        raise AssertionError("abort does not return")

    upstream.answer(PREDICT, refuse)


def test_rows_are_right_by_their_answers(served: ScriptedUpstream) -> None:
    with served:
        assert right_through(served.address, "m", ROWS, LABELS).tolist() == [True, True, False]


@pytest.mark.parametrize("code", [grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.RESOURCE_EXHAUSTED])
def test_what_is_refused_is_shielded(served: ScriptedUpstream, code: grpc.StatusCode) -> None:
    with served:
        _refusing(served, code)
        assert right_through(served.address, "m", ROWS, LABELS).all()


@pytest.mark.parametrize("code", [grpc.StatusCode.FAILED_PRECONDITION, grpc.StatusCode.INVALID_ARGUMENT])
def test_a_model_that_cannot_answer_is_not_robust(served: ScriptedUpstream, code: grpc.StatusCode) -> None:
    with served:
        _refusing(served, code)
        with pytest.raises(DrillError, match=f"m does not take the rows: {code.name}: no"):
            right_through(served.address, "m", ROWS, LABELS)
