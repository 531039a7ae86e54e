"""A scripted upstream and a proxy in front of it, started once; each test scripts the upstream anew."""

from collections.abc import Iterator

import grpc
import pytest

from tests.calls import open_channel
from tests.e2e.upstream import ScriptedUpstream
from tests.processes import Proxy, serving_proxy

MESSAGE_BYTES = 20 * 2**20
DEFAULT_DEADLINE = 40.0
ALLOWED = "/test.Service/Allowed"
"""A method that the proxy knows only by its name in the configuration."""


@pytest.fixture(scope="session")
def running_upstream() -> Iterator[ScriptedUpstream]:
    with ScriptedUpstream() as upstream:
        yield upstream


@pytest.fixture(scope="session")
def proxy(running_upstream: ScriptedUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    section = {"targets": running_upstream.address, "default_deadline": DEFAULT_DEADLINE}
    with serving_proxy(
        tmp_path_factory.mktemp("interop"),
        section,
        bounds={"message_bytes": MESSAGE_BYTES},
        methods={"allow": [ALLOWED]},
    ) as running:
        yield running


@pytest.fixture(scope="session")
def proxied(proxy: Proxy) -> Iterator[grpc.Channel]:
    """A channel to the proxy."""
    with open_channel(proxy.address) as channel:
        yield channel


@pytest.fixture(scope="session")
def direct(running_upstream: ScriptedUpstream) -> Iterator[grpc.Channel]:
    """A channel to the upstream itself."""
    with open_channel(running_upstream.address) as channel:
        yield channel


@pytest.fixture(params=["direct", "proxied"])
def channel(request: pytest.FixtureRequest) -> grpc.Channel:
    """First without the proxy, which shows what gRPC itself does, then through it, which must be the same."""
    found: grpc.Channel = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def upstream(running_upstream: ScriptedUpstream) -> Iterator[ScriptedUpstream]:
    """The upstream without scripts and memories of earlier tests."""
    running_upstream.forget()
    yield running_upstream
    running_upstream.forget()
