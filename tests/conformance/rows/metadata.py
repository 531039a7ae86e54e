"""GetModelMetadata."""

import grpc

from protos import serving_pb2 as serving
from tests.conformance.case import GET_MODEL_METADATA, Case, refused
from tests.conformance.messages import spec
from tests.conformance.replies import described

_INVALID = grpc.StatusCode.INVALID_ARGUMENT


def _ask(model: serving.ModelSpec | None, *fields: str) -> serving.GetModelMetadataRequest:
    return serving.GetModelMetadataRequest(model_spec=model, metadata_field=fields)


def _good(name: str, model: serving.ModelSpec, version: int = 2) -> Case:
    return Case(f"metadata: {name}", GET_MODEL_METADATA, _ask(model, "signature_def"), reply=described(version))


def _refused(
    name: str, request: serving.GetModelMetadataRequest, details: str, code: grpc.StatusCode = _INVALID
) -> Case:
    return refused(f"metadata: {name}", request, code, details, method=GET_MODEL_METADATA)


ROWS = (
    _good("signature_def", spec()),
    _good("signature_def of a version", spec(version=1), 1),
    _good("signature_def of a label", spec(label="stable"), 1),
    _refused("no field", _ask(spec()), "GetModelMetadataRequest must specify at least one metadata_field"),
    _refused("unknown field", _ask(spec(), "nope"), "Metadata field nope is not supported"),
    _refused("good and unknown field", _ask(spec(), "signature_def", "nope"), "Metadata field nope is not supported"),
    _refused("no model_spec", _ask(None, "signature_def"), "Missing ModelSpec"),
    _refused(
        "unknown model",
        _ask(spec("nope"), "signature_def"),
        "Servable not found for request: Latest(nope)",
        grpc.StatusCode.NOT_FOUND,
    ),
    _refused(
        "unknown version",
        _ask(spec(version=99), "signature_def"),
        "Servable not found for request: Specific(toy, 99)",
        grpc.StatusCode.NOT_FOUND,
    ),
)
