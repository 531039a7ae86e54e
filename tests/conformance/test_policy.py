"""Where the proxy differs from TensorFlow Serving on purpose: what it refuses, and what it answers itself."""

import re
from collections.abc import Iterator

import grpc
import pytest
from google.protobuf.message import Message
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from protos import serving_pb2 as serving
from protos import tensor_pb2 as tensors
from tests.calls import open_channel
from tests.conformance.case import CLASSIFY, PREDICT, Case, ask, check, compare, refused
from tests.conformance.conftest import Servers
from tests.conformance.messages import features, predict, spec, tensor
from tests.processes import serving_proxy

_UNIMPLEMENTED = re.compile(r"(Method not found!)?$")
"""gRPC's own text: C++ servers leave it empty, Python ones do not."""

_UNSERVED = (
    "/tensorflow.serving.SessionService/SessionRun",
    "/tensorflow.serving.PredictionService/PredictStreamed",
    "/tensorflow.serving.PredictionService/predict",
    "/tensorflow.serving.ModelService/Nope",
    "/nobody.knows.this.Service/Method",
)
"""Methods that a TensorFlow Serving does not have."""

_ADMINISTRATION = (
    "/tensorflow.serving.ModelService/HandleReloadConfigRequest",
    "/tensorflow.ProfilerService/Profile",
    "/tensorflow.ProfilerService/Terminate",
    "/tensorflow.ProfilerService/Monitor",
)
"""Methods that it has, for its operator: not asked of a model server here, only of a proxy that refuses them."""

_HEALTH = "/grpc.health.v1.Health/Check"
_HEALTH_FLAG = "enable_grpc_healthcheck_service"
_BOMB = tensor(shape=(10**8,), float_val=[1.0])


def _unserved(method: str) -> Case:
    return Case(method, method, b"", grpc.StatusCode.UNIMPLEMENTED, _UNIMPLEMENTED)


def _healthy(service: str) -> Case:
    def serving_status(reply: bytes) -> None:
        assert health_pb2.HealthCheckResponse.FromString(reply).status == health_pb2.HealthCheckResponse.SERVING

    return Case("health", _HEALTH, health_pb2.HealthCheckRequest(service=service), reply=serving_status)


def _is_proxy(server: grpc.Channel) -> bool:
    """Only a proxy refuses a method that nobody has; a model server does not know it."""
    return ask(server, _unserved(_UNSERVED[-1])).code is not grpc.StatusCode.UNIMPLEMENTED


@pytest.fixture(scope="session")
def proxy(servers: Servers) -> grpc.Channel:
    """The target, if it is a proxy; the one that was started here must be."""
    if servers.upstream is None and not _is_proxy(servers.target):
        pytest.skip("the target is a model server, not a proxy")
    return servers.target


@pytest.fixture(scope="session")
def model_server(servers: Servers) -> grpc.Channel:
    """The server behind the proxy, or the target itself if it is no proxy."""
    if servers.direct is not None:
        return servers.direct
    if _is_proxy(servers.target):
        pytest.skip("--direct names no model server")
    return servers.target


@pytest.fixture(scope="module")
def permissive(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[grpc.Channel]:
    """A proxy in front of the same model server that lets every method through that this module names."""
    if servers.upstream is None:
        pytest.skip("needs a configuration of its own, so only without --target")
    allow = [*_UNSERVED, *_ADMINISTRATION]
    folder = tmp_path_factory.mktemp("permissive")
    with (
        serving_proxy(folder, servers.upstream, methods={"allow": allow}) as proxy,
        open_channel(proxy.address) as opened,
    ):
        yield opened


@pytest.mark.parametrize("method", [*_UNSERVED, _HEALTH])
def test_a_model_server_has_no_such_method(model_server: grpc.Channel, flags: list[str], method: str) -> None:
    if method == _HEALTH and _HEALTH_FLAG in flags:
        pytest.skip("the server was started with its health service")
    check(_unserved(method), ask(model_server, _unserved(method)))


def test_a_model_server_may_have_a_health_service(model_server: grpc.Channel, flags: list[str]) -> None:
    if _HEALTH_FLAG not in flags:
        pytest.skip(f"needs a server that was started with --{_HEALTH_FLAG}")
    for service in ("", "ModelService", "PredictionService"):
        check(_healthy(service), ask(model_server, _healthy(service)))
    unknown = refused(
        "health",
        health_pb2.HealthCheckRequest(service="tensorflow.serving.PredictionService"),
        grpc.StatusCode.NOT_FOUND,
        "service name unknown",
        method=_HEALTH,
    )
    check(unknown, ask(model_server, unknown))


@pytest.mark.parametrize("method", [*_UNSERVED, *_ADMINISTRATION])
def test_methods_not_allowed_by_name_are_refused(proxy: grpc.Channel, method: str) -> None:
    answer = ask(proxy, _unserved(method))
    assert answer.code is grpc.StatusCode.PERMISSION_DENIED
    assert method in answer.details


@pytest.mark.parametrize("method", _UNSERVED)
def test_methods_allowed_by_name_are_answered_by_the_model_server(
    direct: grpc.Channel, permissive: grpc.Channel, method: str
) -> None:
    case = _unserved(method)
    compare(case, ask(permissive, case), ask(direct, case), any_map_order=False)


def test_administration_allowed_by_name_reaches_the_model_server(
    direct: grpc.Channel, permissive: grpc.Channel
) -> None:
    for method in _ADMINISTRATION:
        case = Case(method, method, b"", grpc.StatusCode.UNIMPLEMENTED, None)
        compare(case, ask(permissive, case), ask(direct, case), any_map_order=False)


@pytest.mark.parametrize(
    ("method", "request_", "culprit"),
    [
        (PREDICT, predict({"x": _BOMB}), "x"),
        (PREDICT, predict({"x": tensor(tensors.DT_DOUBLE, (2**30, 2**30))}), "x"),
        (PREDICT, predict({"x": tensor(tensors.DT_STRING, (10**7,), string_val=[b"a" * 100])}), "x"),
        (PREDICT, predict({"a": tensor(shape=(1,)), "b": _BOMB}, spec(signature="two")), "b"),
        (PREDICT, predict({"x": tensor(12345, (10**8,))}), "x"),  # type: ignore[arg-type]  # no such dtype, on purpose
        (
            CLASSIFY,
            serving.ClassificationRequest(
                model_spec=spec(signature="classify"),
                input=serving.Input(
                    example_list_with_context=serving.ExampleListWithContext(
                        examples=[features()] * 10_000, context=features([1.0] * 10_000)
                    )
                ),
            ),
            "input",
        ),
    ],
    ids=["floats", "2**63 bytes", "repeated strings", "second input", "unknown dtype", "shared context"],
)
def test_a_small_request_that_would_become_a_large_tensor_is_refused(
    proxy: grpc.Channel, method: str, request_: Message, culprit: str
) -> None:
    case = Case("bomb", method, request_, grpc.StatusCode.INVALID_ARGUMENT, None)
    answer = ask(proxy, case)
    assert answer.code is grpc.StatusCode.INVALID_ARGUMENT
    assert f"input '{culprit}' would take" in answer.details


@pytest.mark.parametrize(
    "service",
    [
        "",
        "tensorflow.serving.PredictionService",
        "tensorflow.serving.ModelService",
        "PredictionService",
        "ModelService",
    ],
)
def test_the_proxy_answers_for_its_health(proxy: grpc.Channel, service: str) -> None:
    check(_healthy(service), ask(proxy, _healthy(service)))


def test_the_proxy_describes_the_services_that_it_answers(proxy: grpc.Channel) -> None:
    database = ProtoReflectionDescriptorDatabase(proxy)
    assert {"tensorflow.serving.PredictionService", "tensorflow.serving.ModelService"} <= set(database.get_services())
    assert database.FindFileContainingSymbol("tensorflow.serving.PredictRequest").package == "tensorflow.serving"


def test_the_health_of_an_unknown_service_is_not_found(proxy: grpc.Channel) -> None:
    case = Case("health", _HEALTH, health_pb2.HealthCheckRequest(service="nope"), grpc.StatusCode.NOT_FOUND, None)
    assert ask(proxy, case).code is grpc.StatusCode.NOT_FOUND
