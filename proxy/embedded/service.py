"""The gRPC surface: raw bytes to messages, methods by full name, and every error to a status at one place."""

import logging
from collections.abc import Callable
from typing import Any, NamedTuple

import grpc
from google.protobuf.message import DecodeError

from proxy.embedded import inference, metadata, predict
from proxy.embedded.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    predict_pb2,
    regression_pb2,
)
from proxy.embedded.models import Models
from proxy.embedded.status import StatusError

log = logging.getLogger(__name__)


class _Method(NamedTuple):
    request: Any  # the message class
    answer: Callable[[Models, Any, float | None], Any]


_PREDICTION = "/tensorflow.serving.PredictionService/"
_MODEL = "/tensorflow.serving.ModelService/"
METHODS = {
    _PREDICTION + "Predict": _Method(predict_pb2.PredictRequest, predict.predict),
    _PREDICTION + "Classify": _Method(classification_pb2.ClassificationRequest, inference.classify),
    _PREDICTION + "Regress": _Method(regression_pb2.RegressionRequest, inference.regress),
    _PREDICTION + "MultiInference": _Method(inference_pb2.MultiInferenceRequest, inference.multi_inference),
    _PREDICTION + "GetModelMetadata": _Method(
        get_model_metadata_pb2.GetModelMetadataRequest, metadata.get_model_metadata
    ),
    _MODEL + "GetModelStatus": _Method(get_model_status_pb2.GetModelStatusRequest, metadata.get_model_status),
}


class ModelServer(grpc.GenericRpcHandler):  # type: ignore[misc]  # grpc publishes no types
    """PredictionService and ModelService over the given models; every other method is UNIMPLEMENTED."""

    def __init__(self, models: Models) -> None:
        self._handlers = {
            path: grpc.unary_unary_rpc_method_handler(_handler(models, method)) for path, method in METHODS.items()
        }
        # A stream handler answers before it reads, so it refuses calls of any shape.
        self._unknown = grpc.stream_stream_rpc_method_handler(_refuse)

    def service(self, handler_call_details: Any) -> Any:
        return self._handlers.get(handler_call_details.method, self._unknown)


def _handler(models: Models, method: _Method) -> Callable[[bytes, Any], bytes]:
    def handle(data: bytes, context: Any) -> bytes:
        if not context.is_active():
            return b""  # cancelled or past its deadline while it waited for a thread
        try:
            return _answer(models, method, data, context.time_remaining())
        except StatusError as error:
            code, details = error.code, error.details()
        except Exception:
            log.exception("internal error")
            code, details = grpc.StatusCode.INTERNAL, b"internal error"
        context.abort(code, details)
        raise AssertionError("abort() does not return")

    return handle


def _answer(models: Models, method: _Method, data: bytes, timeout: float | None) -> bytes:
    try:
        request = method.request.FromString(data)
    except DecodeError:
        raise StatusError(grpc.StatusCode.INTERNAL, "") from None
    reply: bytes = method.answer(models, request, timeout).SerializeToString()
    return reply


def _refuse(requests: Any, context: Any) -> None:
    del requests
    context.abort(grpc.StatusCode.UNIMPLEMENTED, "")
