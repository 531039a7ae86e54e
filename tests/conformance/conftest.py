"""The servers that the suite talks to: those named on the command line, or ones started here."""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest

from tests.calls import open_channel
from tests.conformance.case import Case
from tests.conformance.rows import ROWS
from tests.processes import model_available, serving_backend, serving_proxy
from tests.savedmodels import write_half_plus_two, write_toy

MODELS = ("toy", "half_plus_two")
CONNECT_SECONDS = 10.0


@dataclass(frozen=True)
class Servers:
    """Channels of the suite.

    Attributes:
        target: the server whose answers are judged.
        direct: the model server behind it, to compare with, if there is one.
        upstream: address of the model server if it was started here, for further proxies in front of it.
    """

    target: grpc.Channel
    direct: grpc.Channel | None
    upstream: str | None = None


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    config = metafunc.config
    alone = config.getoption("--target") and not config.getoption("--direct")
    if "server" in metafunc.fixturenames:
        metafunc.parametrize("server", ["target"] if alone else ["target", "direct"])
    if "case" in metafunc.fixturenames:
        asked = () if alone and "direct" in metafunc.fixturenames else ROWS
        cases = [case for case in asked if _applies(case, config.getoption("--server-flag"))]
        metafunc.parametrize("case", cases, ids=lambda case: case.name)


def _applies(case: Case, flags: list[str]) -> bool:
    return case.flag in flags if flags else not case.flag


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Base folders of the models that the rows name."""
    folder = tmp_path_factory.mktemp("models")
    return {"toy": write_toy(folder / "toy"), "half_plus_two": write_half_plus_two(folder / "half_plus_two")}


@pytest.fixture(scope="session")
def servers(pytestconfig: pytest.Config, request: pytest.FixtureRequest) -> Iterator[Servers]:
    """The two servers, started here in front of one another unless the command line names others."""
    target, direct = pytestconfig.getoption("--target"), pytestconfig.getoption("--direct")
    with ExitStack() as stack:
        upstream = None
        if not target:
            models: dict[str, Path] = request.getfixturevalue("models")
            upstream = direct = stack.enter_context(serving_backend(models, "--label", "toy:stable=1")).address
            folder = request.getfixturevalue("tmp_path_factory").mktemp("proxy")
            target = stack.enter_context(serving_proxy(folder, upstream)).address
        channels = [stack.enter_context(open_channel(address)) for address in (target, direct) if address]
        for opened, address in zip(channels, (target, direct), strict=False):
            _expect_models(opened, address)
        yield Servers(channels[0], channels[1] if direct else None, upstream)


@pytest.fixture(scope="session")
def direct(servers: Servers) -> grpc.Channel:
    """The model server itself."""
    if servers.direct is None:
        pytest.skip("--direct names no model server")
    return servers.direct


def _expect_models(opened: grpc.Channel, address: str) -> None:
    """Says once, and before any row, what is wrong with a server that cannot be asked."""
    try:
        grpc.channel_ready_future(opened).result(CONNECT_SECONDS)
    except grpc.FutureTimeoutError:
        pytest.fail(f"nothing answers gRPC at {address}", pytrace=False)
    missing = [name for name in MODELS if not model_available(opened, name)]
    if missing:
        pytest.fail(f"{address} does not serve {', '.join(missing)}; see tests/conformance/README.md", pytrace=False)


@pytest.fixture(scope="session")
def any_map_order(pytestconfig: pytest.Config) -> bool:
    return bool(pytestconfig.getoption("--any-map-order"))


@pytest.fixture(scope="session")
def flags(pytestconfig: pytest.Config) -> list[str]:
    """The flags that the model server is said to have been started with."""
    return list(pytestconfig.getoption("--server-flag"))
