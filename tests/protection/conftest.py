"""The model `toy` on the embedded server, and proxies with protections of a test's choice in front of it."""

import re
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest

from tests.calls import open_channel
from tests.processes import Backend, Proxy, serving_backend, serving_proxy
from tests.savedmodels import write_toy


@pytest.fixture(scope="session")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backend]:
    """Version 1 of the model."""
    with serving_backend({"toy": write_toy(tmp_path_factory.mktemp("toy"), [1])}) as backend:
        yield backend


@pytest.fixture(scope="session")
def direct(toy: Backend) -> Iterator[grpc.Channel]:
    """To the model itself."""
    with open_channel(toy.address) as channel:
        yield channel


@dataclass(frozen=True)
class Protected:
    """A proxy, and a channel to it."""

    proxy: Proxy
    channel: grpc.Channel

    def count(self, name: str, **labels: str) -> float:
        """The sum of a metric's samples that have these labels."""
        with urllib.request.urlopen(f"http://{self.proxy.admin}/metrics", timeout=5) as page:
            text = page.read().decode()
        found = re.findall(rf"^{name}(?:{{(.*)}})? (\S+)$", text, re.MULTILINE)
        wanted = {f'{key}="{value}"' for key, value in labels.items()}
        return sum(float(value) for given, value in found if wanted <= set(re.findall(r'\w+="[^"]*"', given)))


Protect = Callable[..., Protected]


@pytest.fixture
def protect(toy: Backend, tmp_path: Path) -> Iterator[Protect]:
    """Starts a proxy with these rules for the model; other sections go by keyword."""
    with ExitStack() as stack:
        started = 0

        def start(rules: dict[str, Any] | None = None, **sections: Any) -> Protected:
            nonlocal started
            started += 1
            folder = tmp_path / str(started)
            folder.mkdir()
            models = {"models": {"toy": rules}} if rules is not None else {}
            proxy = stack.enter_context(serving_proxy(folder, toy.address, **(models | sections)))
            return Protected(proxy, stack.enter_context(open_channel(proxy.address)))

        yield start
