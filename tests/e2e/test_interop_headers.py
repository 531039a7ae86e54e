"""Which headers go on: custom ones do, those of one hop, of gRPC itself and of the caller's identity do not."""

import re
import subprocess
import sys
import tempfile
from pathlib import Path

import grpc
import pytest

from proxy.version import VERSION
from tests.calls import Metadata, call, open_channel
from tests.e2e.upstream import ScriptedUpstream
from tests.processes import serving_proxy

PREDICT = "/tensorflow.serving.PredictionService/Predict"

ONE_HOP = (
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "host",
    "grpc-custom",
    "grpc-custom-bin",
    "grpc-retry-pushback-ms",
)
"""RFC 9113, 8.2.2, RFC 9110, 7.6.1, and what gRPC reserves (PROTOCOL-HTTP2.md), as far as its clients send them."""

IDENTITY: Metadata = (
    ("x-forwarded-for", "192.0.2.7"),
    ("x-real-ip", "192.0.2.7"),
    ("forwarded", "for=192.0.2.7"),
)


def forwarded(upstream: ScriptedUpstream, channel: grpc.Channel, metadata: Metadata) -> set[str]:
    """The keys of these metadata that reach the upstream."""
    upstream.answer(PREDICT, b"")
    answer = call(channel, PREDICT, metadata=metadata)
    assert answer.code is grpc.StatusCode.OK, answer.details
    return {key for key, _ in upstream.last().metadata} & {key for key, _ in metadata}


@pytest.mark.parametrize("key", ONE_HOP)
def test_headers_of_one_hop_stay_on_it(
    upstream: ScriptedUpstream, direct: grpc.Channel, proxied: grpc.Channel, key: str
) -> None:
    metadata: Metadata = ((key, b"1" if key.endswith("-bin") else "1"),)
    assert forwarded(upstream, direct, metadata) == {key}
    assert forwarded(upstream, proxied, metadata) == set()


def test_headers_that_only_look_reserved_pass(upstream: ScriptedUpstream, channel: grpc.Channel) -> None:
    metadata: Metadata = (("grpcx", "1"), ("x-grpc-custom", "1"), ("x-host", "1"), ("content-language", "en"))
    assert forwarded(upstream, channel, metadata) == {key for key, _ in metadata}


def test_more_metadata_than_the_bound_are_refused(upstream: ScriptedUpstream, proxied: grpc.Channel) -> None:
    upstream.answer(PREDICT, b"")
    answer = call(proxied, PREDICT, metadata=tuple((f"x-{n}", "v" * 1000) for n in range(40)))
    assert answer.code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert not upstream.calls


def test_the_user_agent_is_the_hops_own(upstream: ScriptedUpstream, proxied: grpc.Channel) -> None:
    upstream.answer(PREDICT, b"")
    call(proxied, PREDICT, metadata=(("user-agent", "somebody"),))
    (agent,) = upstream.last().values("user-agent")
    assert str(agent).startswith(f"tensorwall/{VERSION} grpc-python-asyncio/")


def test_headers_that_are_no_identity_here_pass(upstream: ScriptedUpstream, proxied: grpc.Channel) -> None:
    """By default callers are told apart by their peer address; the rest is the upstream's business."""
    assert forwarded(upstream, proxied, (*IDENTITY, ("x-api-key", "k"))) == {key for key, _ in IDENTITY} | {"x-api-key"}


@pytest.mark.parametrize("kept", [False, True], ids=["stripped", "kept by configuration"])
def test_headers_that_carry_identity_stay_here(upstream: ScriptedUpstream, tmp_path: Path, kept: bool) -> None:
    keys = tmp_path / "keys.yaml"
    command = [sys.executable, "-m", "proxy", "keys", "add", "--owner", "somebody", "--file", str(keys)]
    key = subprocess.run(command, check=True, capture_output=True, text=True, timeout=30).stdout.strip()
    identity = {
        "order": ["api_key", "forwarded_for"],
        "api_keys": {"file": str(keys), "header": "x-secret"},
        "forward_headers": kept,
    }
    metadata: Metadata = (*IDENTITY, ("x-secret", key), ("x-other", "1"))
    with (
        serving_proxy(tmp_path, upstream.address, identity=identity) as proxy,
        open_channel(proxy.address) as channel,
    ):
        assert forwarded(upstream, channel, metadata) == ({name for name, _ in metadata} if kept else {"x-other"})
        assert not re.search(re.escape(key), proxy.process.log()), "the log tells a key"


def test_a_unix_socket_serves(upstream: ScriptedUpstream, tmp_path: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:  # tmp_path may be longer than a socket's path may be
        address = f"unix:{folder}/grpc.sock"
        with (
            serving_proxy(tmp_path, upstream.address, listen={"grpc": address}) as proxy,
            open_channel(proxy.address) as channel,
        ):
            assert proxy.address == address
            assert forwarded(upstream, channel, (("x-other", "1"),)) == {"x-other"}
            assert upstream.last().method == PREDICT
