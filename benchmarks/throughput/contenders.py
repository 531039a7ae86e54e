"""Who takes part: the upstream by itself, what people would use instead, and tensorwall with more and more of it on."""

import contextlib
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.throughput.envoy import bootstrap
from benchmarks.throughput.processes import child, found_program, free_port
from benchmarks.throughput.profiles import profile
from tests.processes import serving_proxy

LABELS = {
    "direct": "no proxy",
    "bare": "bare grpc.aio pass-through",
    "envoy": "Envoy, pass-through",
    "envoy-limits": "Envoy, local rate limit",
    "off": "tensorwall, pass-through",
    "limits": "tensorwall, limits",
    "default": "tensorwall, default protection",
    "everything": "tensorwall, everything",
}
"""The contenders, for people."""


@dataclass(frozen=True, slots=True)
class Contender:
    """A running one: its name, the address of its gRPC port, its process, and of its admin port if it has one."""

    name: str
    address: str
    pid: int | None
    admin: str | None = None


@contextlib.contextmanager
def running(name: str, folder: Path, upstream: str, payload: str) -> Iterator[Contender]:
    """Starts a contender in front of an upstream and waits until it listens.

    Args:
        name: one of `LABELS`.
        folder: an empty one, for its files; what several need alike is kept beside it.
        upstream: host:port.
        payload: name of the payload, and of the model.
    """
    if name == "direct":
        yield Contender(name, upstream, None)
    elif name == "bare":
        command = [sys.executable, "-m", "benchmarks.throughput.passthrough", upstream]
        with child(command, folder / "log") as (port, pid):
            yield Contender(name, f"127.0.0.1:{port}", pid)
    elif name.startswith("envoy"):
        with _envoy(folder, upstream, name == "envoy-limits") as (port, pid):
            yield Contender(name, f"127.0.0.1:{port}", pid)
    else:
        identity = {"order": ["forwarded_for", "peer"]}
        with serving_proxy(folder, upstream, identity=identity, **settings(name, payload, folder)) as proxy:
            yield Contender(name, proxy.address, proxy.process.process.pid, proxy.admin)


def settings(name: str, payload: str, folder: Path) -> dict[str, Any]:
    """The sections of tensorwall's configuration for a contender; see `running`."""
    return _SETTINGS[name](payload, folder)


_MANY = "1000000/s"
"""Limits that are looked up and counted, and refuse nothing."""


def _off(payload: str, folder: Path) -> dict[str, Any]:
    """The model is named, as an operator would for its metrics; nothing is done to its calls."""
    del folder
    return {"models": {payload: {}}}


def _limits(payload: str, folder: Path) -> dict[str, Any]:
    """A rate of all calls; for each caller a rate, a budget and calls in flight."""
    del folder
    own = [
        {"by": "caller", "rate": _MANY, "burst": 1_000_000},
        {"by": "caller", "budget": 1_000_000_000, "per": "lifetime"},
        {"by": "caller", "in_flight": 1000},
    ]
    return {"limits": [{"by": "global", "rate": _MANY, "burst": 1_000_000}], "models": {payload: {"limits": own}}}


def _default(payload: str, folder: Path) -> dict[str, Any]:
    """The limits, and detection as it is without further settings, enforced.

    The callers are immune: rows that nobody else sends, all with one answer, look like a theft, and a verdict would
    hold answers back. All else is done as for callers who are not under a verdict.
    """
    made = _limits(payload, folder)
    path = profile(folder.parent, payload)
    made["models"][payload]["detection"] = {
        "mode": "enforce",
        "profile": str(path.resolve()),
        "immune": ["*"],
    }
    return made


def _everything(payload: str, folder: Path) -> dict[str, Any]:
    """Besides, inputs are cleaned, answers rounded, and one call in a hundred is captured."""
    made = _default(payload, folder)
    steps = [{"kind": "text"}] if payload == "text" else [{"kind": "bit_depth", "bits": 4}]
    ranged = {} if payload == "text" else {"range": [-16, 16] if payload == "table" else [0, 1]}
    made["models"][payload] |= {
        "inputs": {"x": {"steps": steps, **ranged}},
        "outputs": {"probabilities": {"semantics": "probabilities", "steps": [{"kind": "round", "decimals": 2}]}},
    }
    made["capture"] = {"path": str(folder / "captured"), "models": {payload: 0.01}}
    return made


_SETTINGS = {"off": _off, "limits": _limits, "default": _default, "everything": _everything}


@contextlib.contextmanager
def _envoy(folder: Path, upstream: str, limited: bool) -> Iterator[tuple[int, int]]:
    program = found_program("envoy")
    assert program is not None, "the run has looked for it"
    config, port = folder / "envoy.json", free_port()
    config.write_text(json.dumps(bootstrap(port, upstream, limited)))
    command = [program, "-c", str(config), "--concurrency", "1", "--disable-hot-restart", "-l", "warning"]
    with child(command, folder / "log", port) as found:
        yield found
