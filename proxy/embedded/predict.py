"""Predict: the checks of TensorFlow Serving's predict_util.cc in its order, then one run.

Order: ModelSpec, servable, signature, number of inputs, each input's alias and tensor, output_filter, run.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import grpc

from proxy.embedded import tensors
from proxy.embedded.apis import predict_pb2
from proxy.embedded.models import Models
from proxy.embedded.servable import DEFAULT_SIGNATURE
from proxy.embedded.status import StatusError, invalid_argument
from proxy.embedded.tensors import Array, Opaque


def predict(models: Models, request: Any, timeout: float | None) -> Any:
    """PredictResponse for a PredictRequest; the run ends after `timeout` seconds.

    Raises:
        StatusError: code and text as TensorFlow Serving's.
    """
    if not request.HasField("model_spec"):
        raise invalid_argument("Missing ModelSpec")
    with models.lease(request.model_spec) as servable:
        name = request.model_spec.signature_name or DEFAULT_SIGNATURE
        signature = servable.signatures.get(name)
        if signature is None:
            raise StatusError(grpc.StatusCode.FAILED_PRECONDITION, f'Serving signature key "{name}" not found.')
        _check_number_of_inputs(signature, request.inputs)
        feeds = _feeds(signature, request.inputs)
        aliases = _aliases(signature, request.output_filter)
        outputs = servable.run(feeds, [signature.outputs[alias].name for alias in aliases], timeout)

        response = predict_pb2.PredictResponse()
        fill_model_spec(response.model_spec, servable.name, servable.version, name)
        for alias, output in zip(aliases, outputs, strict=True):
            tensors.write(output.value, output.dtype, response.outputs[alias])
        return response


def fill_model_spec(spec: Any, model: str, version: int, signature: str) -> None:
    """The ModelSpec of a reply: the version that ran, never a label, and the signature's name, default or not."""
    spec.name = model
    spec.version.value = version
    spec.signature_name = signature or DEFAULT_SIGNATURE


def _check_number_of_inputs(signature: Any, inputs: Mapping[str, Any]) -> None:
    sent, known = set(inputs), set(signature.inputs)
    extra, missing = _braced(sent - known), _braced(known - sent)
    if len(sent) > len(known) or (len(sent) < len(known) and not signature.defaults):
        raise invalid_argument(
            f"input size does not match signature: {len(sent)}!={len(known)} len({_braced(sent)}) != "
            f"len({_braced(known)}). Sent extra: {extra}. Missing but required: {missing}."
        )


def _feeds(signature: Any, inputs: Mapping[str, Any]) -> list[tuple[str, Array | Opaque]]:
    """Tensor names and values (`saved_model::GetInputValues`); the aliases in the order of their names."""
    feeds = []
    for alias in sorted(signature.inputs):
        feed_name = signature.inputs[alias].name
        if alias not in inputs and alias not in signature.defaults:
            raise invalid_argument(
                f"Signature input alias: {alias}(feed name: {feed_name}) not found in request and no default value "
                f"provided. Inputs expected to be in the request {_braced(inputs)}, or default input alias set: "
                + ",".join(sorted(signature.defaults))
            )
        proto = inputs[alias] if alias in inputs else signature.defaults[alias]
        try:
            feeds.append((feed_name, tensors.parse(proto)))
        except tensors.TensorParseError:
            raise invalid_argument(f"tensor parsing error: {alias}") from None
    used = inputs.keys() & signature.inputs.keys()
    if len(used) != len(inputs):
        raise invalid_argument(
            f"Inputs contains invalid name. Used request inputs: {','.join(sorted(used))}, "
            f"request input: {','.join(sorted(inputs))}"
        )
    return feeds


def _aliases(signature: Any, output_filter: Sequence[str]) -> list[str]:
    """The outputs to fetch: those of the filter, or all."""
    seen: set[str] = set()
    for alias in output_filter:
        if alias not in signature.outputs:
            raise invalid_argument(
                f"output tensor alias not found in signature: {alias} "
                f"Outputs expected to be in the set {_braced(signature.outputs)}."
            )
        if alias in seen:
            raise invalid_argument(f"duplicate output tensor alias: {alias}")
        seen.add(alias)
    return list(output_filter or signature.outputs)


def _braced(names: Iterable[str]) -> str:
    return "{" + ",".join(sorted(names)) + "}"
