"""The client that everybody uses: tensorflow-serving-api's own stubs and TensorFlow's own tensors."""

from typing import Any

import grpc
import numpy as np
import pytest

from tests.conformance.conftest import Servers
from tests.conformance.messages import X
from tests.conformance.replies import toy


@pytest.fixture(scope="module")
def apis() -> Any:
    """The package of the stock client; it brings TensorFlow."""
    pytest.importorskip("tensorflow_serving.apis.prediction_service_pb2_grpc", exc_type=ImportError)
    import tensorflow_serving.apis as apis
    from tensorflow_serving.apis import get_model_status_pb2, model_service_pb2_grpc, predict_pb2  # noqa: F401

    return apis


def test_the_stock_client_predicts(servers: Servers, apis: Any) -> None:
    import tensorflow as tf

    request = apis.predict_pb2.PredictRequest()
    request.model_spec.name = "toy"
    request.model_spec.version_label = "stable"
    request.inputs["x"].CopyFrom(tf.make_tensor_proto(X))
    stub = apis.prediction_service_pb2_grpc.PredictionServiceStub(servers.target)
    response = stub.Predict(request, timeout=20)
    assert response.model_spec.version.value == 1
    for name, values in toy(X, 1).items():
        np.testing.assert_allclose(tf.make_ndarray(response.outputs[name]), values, rtol=1e-4)


def test_the_stock_client_reads_errors(servers: Servers, apis: Any) -> None:
    request = apis.predict_pb2.PredictRequest()
    request.model_spec.name = "intentionally_missing_model"
    stub = apis.prediction_service_pb2_grpc.PredictionServiceStub(servers.target)
    with pytest.raises(grpc.RpcError) as refused:
        stub.Predict(request, timeout=20)
    assert refused.value.code() is grpc.StatusCode.NOT_FOUND
    assert "Servable" in refused.value.details()


def test_the_stock_client_asks_for_status(servers: Servers, apis: Any) -> None:
    request = apis.get_model_status_pb2.GetModelStatusRequest()
    request.model_spec.name = "toy"
    stub = apis.model_service_pb2_grpc.ModelServiceStub(servers.target)
    response = stub.GetModelStatus(request, timeout=20)
    assert [version.version for version in response.model_version_status] == [2, 1]
