"""GetModelMetadata and GetModelStatus (get_model_metadata_impl.cc and get_model_status_impl.cc)."""

from typing import Any

from proxy.embedded.apis import get_model_metadata_pb2, get_model_status_pb2
from proxy.embedded.models import Models
from proxy.embedded.status import invalid_argument, not_found

SIGNATURE_DEF = "signature_def"


def get_model_metadata(models: Models, request: Any, timeout: float | None) -> Any:
    """GetModelMetadataResponse: the signatures of the version that the ModelSpec asks for.

    Raises:
        StatusError: code and text as TensorFlow Serving's.
    """
    del timeout
    if not request.HasField("model_spec"):
        raise invalid_argument("Missing ModelSpec")
    if not request.metadata_field:
        raise invalid_argument("GetModelMetadataRequest must specify at least one metadata_field")
    for field in request.metadata_field:
        if field != SIGNATURE_DEF:
            raise invalid_argument(f"Metadata field {field} is not supported")
    with models.lease(request.model_spec) as servable:
        response = get_model_metadata_pb2.GetModelMetadataResponse()
        response.model_spec.name = servable.name
        response.model_spec.version.value = servable.version
        response.metadata[SIGNATURE_DEF].CopyFrom(servable.signature_map)
        return response


def get_model_status(models: Models, request: Any, timeout: float | None) -> Any:
    """GetModelStatusResponse: one version or all, the newest first; a label in the ModelSpec is not looked at.

    Raises:
        StatusError: code and text as TensorFlow Serving's.
    """
    del timeout
    if not request.HasField("model_spec"):
        raise invalid_argument("Missing ModelSpec")
    spec = request.model_spec
    model = models.get(spec.name)
    statuses = model.statuses() if model is not None else []
    if spec.HasField("version"):
        statuses = [item for item in statuses if item[0] == spec.version.value]
        if not statuses:
            raise not_found(f"Could not find version {spec.version.value} of model {spec.name}")
    elif not statuses:
        raise not_found(f"Could not find any versions of model {spec.name}")
    response = get_model_status_pb2.GetModelStatusResponse()
    for version, status in statuses:
        row = response.model_version_status.add(version=version, state=status.state)
        row.status.SetInParent()
        row.status.error_code, row.status.error_message = status.error_code, status.error_message
    return response
