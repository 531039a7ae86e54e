"""What the scenes play on: a model server, the proxy in front of it, and a channel to each."""

import contextlib
import re
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import grpc
import yaml

from proxy.demo.children import Child, proxy_addresses
from proxy.demo.data import Dataset, Say
from proxy.demo.model import DemoModel

START_SECONDS = 90.0
"""For a server to be ready: the model server imports TensorFlow, which takes its time on a busy machine."""
CALL_SECONDS = 30.0
SETTLE_SECONDS = 1.0
DRAIN_SECONDS = 10.0


class SceneError(Exception):
    """Something did not go as the story says; the message tells what was expected and what came."""


@dataclass(frozen=True)
class Stage:
    """Both servers, running.

    Attributes:
        say: writes a line of the story.
        dataset: the images.
        model: what is served.
        backend: the model server's process.
        proxy: the proxy's process.
        direct_address: of the model server, host:port.
        address: of the proxy, host:port.
        admin: of the proxy's HTTP port, host:port.
        direct: channel to the model server.
        proxied: channel to the proxy.
    """

    say: Say
    dataset: Dataset
    model: DemoModel
    backend: Child
    proxy: Child
    direct_address: str
    address: str
    admin: str
    direct: grpc.Channel
    proxied: grpc.Channel

    def get(self, path: str) -> tuple[int, str]:
        """Status and body of a page of the proxy's admin port."""
        return _get(f"http://{self.admin}{path}")


@contextlib.contextmanager
def model_server(model: DemoModel, folder: Path) -> Iterator[Child]:
    """A starting embedded model server; its log is in `folder`."""
    arguments = ["-m", "proxy", "backend", "--model", f"{model.name}={model.versions}", "--port", "0"]
    with Child("the model server", arguments, folder / "backend.log") as child:
        yield child


@contextlib.contextmanager
def stage(backend: Child, dataset: Dataset, model: DemoModel, say: Say, folder: Path) -> Iterator[Stage]:
    """The stage with the proxy added, when everything is ready; nothing of it is left after the block.

    Args:
        backend: as from `model_server`.
        dataset: the images.
        model: what `backend` serves.
        say: writes a line of the story.
        folder: for the proxy's configuration and log.

    Raises:
        ChildError: a server ended or was not ready in time.
    """
    serving = re.compile(r"serving .* on (127\.0\.0\.1:\d+)")
    upstream = backend.wait_for(lambda: serving.search(backend.output()), START_SECONDS, "serving")[1]
    say(f"the model server is ready on {upstream} (process {backend.pid})")
    began = time.monotonic()
    config = folder / "tensorwall.yaml"
    config.write_text(_configuration(upstream, model.name))
    with contextlib.ExitStack() as open_things:
        proxy = open_things.enter_context(
            Child("the proxy", ["-m", "proxy", "serve", "--config", str(config)], folder / "proxy.log")
        )
        address, admin = proxy.wait_for(lambda: proxy_addresses(proxy), START_SECONDS, "listening")
        proxy.wait_for(lambda: _get(f"http://{admin}/readyz")[0] == 200 or None, START_SECONDS, "ready")
        say(f"the proxy is ready on {address} (process {proxy.pid}), {time.monotonic() - began:.2f} s after its start")
        direct, proxied = (open_things.enter_context(grpc.insecure_channel(to)) for to in (upstream, address))
        yield Stage(say, dataset, model, backend, proxy, upstream, address, admin, direct, proxied)


def _configuration(upstream: str, model: str) -> str:
    return yaml.safe_dump(
        {
            "upstream": upstream,
            "listen": {"grpc": "127.0.0.1:0", "admin": "127.0.0.1:0"},
            "models": {model: {}},
            "shutdown": {"settle": SETTLE_SECONDS, "drain": DRAIN_SECONDS},
            "log": {"format": "json"},
        },
        sort_keys=False,
    )


def _get(url: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url, timeout=CALL_SECONDS) as response:  # noqa: S310  # our own loopback address
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode(errors="replace")
    except OSError:
        return 0, ""
