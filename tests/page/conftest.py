"""A real proxy in front of a light model server, callers, and the page in a real browser."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from google.protobuf.message import DecodeError
from playwright.sync_api import Browser

from detectors.profile import Profile
from protos import serving_pb2 as serving
from protos import tensor_pb2 as tensor
from proxy.admin.operators import token_hash
from proxy.tensors import set_array, to_array
from tests.calls import Answer, call, open_channel
from tests.e2e.model_server import PREDICT, ModelServer
from tests.page.browser import Tab, chromium, tab
from tests.processes import TOKEN, Proxy, serving_proxy

VIEWER_TOKEN = "a-viewer-of-the-tests-0123456789012"
MODEL = "fashion"


def softmax(body: bytes, context: grpc.ServicerContext) -> bytes:
    """A model of three classes: rows `x` to `probabilities`. It has no metadata to tell."""
    try:
        request = serving.PredictRequest.FromString(body)
    except DecodeError:
        context.abort(grpc.StatusCode.UNIMPLEMENTED, "Predict alone")
    raised = np.exp(to_array(request.inputs["x"])[:, :3].clip(-20, 20))
    reply = serving.PredictResponse()
    reply.model_spec.CopyFrom(request.model_spec)
    reply.outputs["probabilities"].dtype = request.inputs["x"].dtype
    set_array(reply.outputs["probabilities"], (raised / raised.sum(axis=1, keepdims=True)).astype(np.float32))
    return reply.SerializeToString()


@dataclass(frozen=True)
class Site:
    """A running proxy, as its callers and its operators meet it."""

    proxy: Proxy
    channel: grpc.Channel

    @property
    def origin(self) -> str:
        """Of the page."""
        return f"http://{self.proxy.admin}"

    def ask(self, caller: str, rows: int = 1, model: str = MODEL, seed: int = 0) -> Answer:
        """One call of a caller."""
        request = serving.PredictRequest()
        request.model_spec.name = model
        request.inputs["x"].dtype = tensor.DT_FLOAT
        set_array(request.inputs["x"], np.random.default_rng(seed).normal(0, 1, (rows, 4)).astype(np.float32))
        return call(self.channel, PREDICT, request.SerializeToString(), metadata=(("x-forwarded-for", caller),))


Serve = Callable[..., Site]


@pytest.fixture(scope="package")
def upstream() -> Iterator[ModelServer]:
    with ModelServer(softmax) as server:
        yield server


@pytest.fixture
def serve(upstream: ModelServer, tmp_path: Path) -> Iterator[Serve]:
    """Starts a proxy that enforces detection: whoever sends more than ten rows is found to steal the model."""
    with ExitStack() as stack:
        yield lambda models=None, **sections: _started(stack, tmp_path, upstream, models, sections)


@pytest.fixture(scope="module")
def shared(upstream: ModelServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """One for all tests of a module, which tell their callers apart."""
    with ExitStack() as stack:
        yield _started(stack, tmp_path_factory.mktemp("shared"), upstream, None, {})


def _started(
    stack: ExitStack, folder: Path, upstream: ModelServer, models: dict[str, Any] | None, sections: dict[str, Any]
) -> Site:
    operators = [
        {"name": name, "role": role, "sha256": token_hash(token)}
        for name, role, token in (("ada", "operator", TOKEN), ("vic", "viewer", VIEWER_TOKEN))
    ]
    settings = {"identity": {"order": ["forwarded_for"]}, "admin": {"operators": operators}, **sections}
    settings["models"] = models or {MODEL: {"detection": detection(folder)}}
    running = stack.enter_context(serving_proxy(folder, upstream.address, **settings))
    return Site(running, stack.enter_context(open_channel(running.address)))


def detection(folder: Path, model: str = MODEL, answer: str = "refuse", most: int = 10) -> dict[str, Any]:
    """Settings under which a caller with more than `most` rows is blocked."""
    profile = folder / "profile.json"
    replace(Profile.defaults(model, b"0123456789abcdef"), calibrated=True).write(profile)
    return {
        "mode": "enforce",
        "profile": str(profile),
        "own": [{"path": "tests.detection.own:Rows", "settings": {"most": most}}],
        "policy": {"extraction": {"answer": answer}},
    }


@pytest.fixture
def site(serve: Serve) -> Site:
    """A proxy that nobody has called yet."""
    return serve()


_NUMBERS = count(1)


@pytest.fixture
def caller() -> str:
    """The address of a caller that no other test has."""
    number = next(_NUMBERS)
    return f"203.0.{number >> 8}.{number & 255}"


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    with chromium() as running:
        yield running


@pytest.fixture
def view(browser: Browser, site: Site) -> Iterator[Tab]:
    """A tab on a proxy that nobody has called yet; whatever goes wrong in it fails the test."""
    with tab(browser, site.origin) as made:
        yield made


@pytest.fixture
def desk(browser: Browser, shared: Site) -> Iterator[Tab]:
    """A tab on the proxy of the module's tests."""
    with tab(browser, shared.origin, viewport={"width": 1280, "height": 800}) as made:
        yield made
