"""GetModelMetadata and GetModelStatus over a socket with the stock client."""

from typing import Any

import pytest

from proxy.embedded.apis import get_model_metadata_pb2, get_model_status_pb2
from tests.embedded.conftest import Client
from tests.embedded.requests import CODE, metadata, refusal, spec, status

AVAILABLE = get_model_status_pb2.ModelVersionStatus.AVAILABLE


@pytest.mark.parametrize(("asked", "version"), [(spec(), 2), (spec(version=1), 1), (spec(label="stable"), 1)])
def test_signatures(client: Client, asked: Any, version: int) -> None:
    reply = client.prediction.GetModelMetadata(metadata(asked, "signature_def"))
    assert reply.model_spec == spec(version=version)
    packed = reply.metadata["signature_def"]
    assert packed.type_url == "type.googleapis.com/tensorflow.serving.SignatureDefMap"
    signatures = get_model_metadata_pb2.SignatureDefMap.FromString(packed.value).signature_def
    assert set(signatures) == {"serving_default", "two", "classify", "regress", "strs", "__saved_model_init_op"}
    assert [dim.size for dim in signatures["serving_default"].inputs["x"].tensor_shape.dim] == [-1, 4]
    assert signatures["classify"].method_name == "tensorflow/serving/classify"
    init = signatures["__saved_model_init_op"].outputs["__saved_model_init_op"]
    assert (init.name, init.tensor_shape.unknown_rank) == ("NoOp", True)


UNSUPPORTED = "Metadata field nope is not supported"


@pytest.mark.parametrize(
    ("request_", "code", "details"),
    [
        (metadata(None, "signature_def"), CODE.INVALID_ARGUMENT, "Missing ModelSpec"),
        (
            metadata(spec("nope")),
            CODE.INVALID_ARGUMENT,
            "GetModelMetadataRequest must specify at least one metadata_field",
        ),
        (metadata(spec("nope"), "nope"), CODE.INVALID_ARGUMENT, UNSUPPORTED),
        (metadata(spec(), "signature_def", "nope"), CODE.INVALID_ARGUMENT, UNSUPPORTED),
        (metadata(spec("nope"), "signature_def"), CODE.NOT_FOUND, "Servable not found for request: Latest(nope)"),
        (
            metadata(spec(version=99), "signature_def"),
            CODE.NOT_FOUND,
            "Servable not found for request: Specific(toy, 99)",
        ),
    ],
)
def test_metadata_refusals(client: Client, request_: Any, code: Any, details: str) -> None:
    assert refusal(client.prediction.GetModelMetadata, request_) == (code, details)


@pytest.mark.parametrize(
    ("asked", "versions"), [(spec(), [2, 1]), (spec(version=2), [2]), (spec(label="not looked at"), [2, 1])]
)
def test_status(client: Client, asked: Any, versions: list[int]) -> None:
    rows = client.model.GetModelStatus(status(asked)).model_version_status
    assert [(row.version, row.state) for row in rows] == [(version, AVAILABLE) for version in versions]
    assert all(row.HasField("status") and row.status.error_code == 0 for row in rows)


@pytest.mark.parametrize(
    ("asked", "code", "details"),
    [
        (None, CODE.INVALID_ARGUMENT, "Missing ModelSpec"),
        (spec(version=99), CODE.NOT_FOUND, "Could not find version 99 of model toy"),
        (spec("nope"), CODE.NOT_FOUND, "Could not find any versions of model nope"),
        (spec(""), CODE.NOT_FOUND, "Could not find any versions of model "),
    ],
)
def test_status_refusals(client: Client, asked: Any, code: Any, details: str) -> None:
    assert refusal(client.model.GetModelStatus, status(asked)) == (code, details)
