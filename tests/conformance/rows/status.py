"""GetModelStatus. A version label is ignored here: only a version narrows the answer."""

import grpc

from protos import serving_pb2 as serving
from tests.conformance.case import GET_MODEL_STATUS, Case, refused
from tests.conformance.messages import spec
from tests.conformance.replies import available

_NOT_FOUND = grpc.StatusCode.NOT_FOUND


def _ask(model: serving.ModelSpec | None) -> serving.GetModelStatusRequest:
    return serving.GetModelStatusRequest(model_spec=model)


def _good(name: str, model: serving.ModelSpec, *versions: int) -> Case:
    return Case(f"status: {name}", GET_MODEL_STATUS, _ask(model), reply=available(*versions))


def _refused(name: str, model: serving.ModelSpec | None, code: grpc.StatusCode, details: str) -> Case:
    return refused(f"status: {name}", _ask(model), code, details, method=GET_MODEL_STATUS)


ROWS = (
    _good("all versions", spec(), 2, 1),
    _good("one version", spec(version=2), 2),
    _good("a label", spec(label="stable"), 2, 1),
    _good("an unknown label", spec(label="nope"), 2, 1),
    _refused("unknown version", spec(version=99), _NOT_FOUND, "Could not find version 99 of model toy"),
    _refused("unknown model", spec("nope"), _NOT_FOUND, "Could not find any versions of model nope"),
    _refused("no model_spec", None, grpc.StatusCode.INVALID_ARGUMENT, "Missing ModelSpec"),
)
