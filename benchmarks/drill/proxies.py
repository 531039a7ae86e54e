"""A fresh proxy for each run, so that no attack is found for what an earlier one did."""

import json
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import yaml

from benchmarks.drill.scenes import Scene
from detectors.findings import Technique
from proxy.admin.operators import token_hash
from proxy.demo.children import Child
from proxy.demo.stage import START_SECONDS

DELAY = [0.01, 0.04]
"""Seconds instead of the usual 0.25 to 1: an attacker who is held back waits, and the drill need not."""

Addresses = tuple[str, str]


@contextmanager
def proxy(folder: Path, scene: Scene, answer: str, immune: Sequence[str] = ()) -> Iterator[tuple[Addresses, Path]]:
    """The addresses of a proxy that enforces detection and takes callers' addresses as forwarded.

    Args:
        folder: an empty one.
        scene: what is behind it. All its scores are coarsened to labels on the step that says so, logits too, which
            are not by default.
        answer: `silent` or `refuse`, for every technique.
        immune: callers that are not acted on.

    Yields:
        Its gRPC and its admin address, and the file with the token of one who may look.
    """
    token = folder / "token"
    token.write_text(secrets.token_urlsafe(32))
    viewer = {"name": "drill", "role": "viewer", "sha256": token_hash(token.read_text())}
    policy = {technique.value: {"answer": answer} for technique in Technique}
    detection = {
        "mode": "enforce",
        "profile": str(scene.profile),
        "policy": policy,
        "immune": list(immune),
        "delay": DELAY,
    }
    labels = {name: {"semantics": name, "steps": [{"kind": "label_only"}]} for name in scene.outputs}
    settings = {
        "upstream": scene.upstream,
        "listen": {"grpc": "127.0.0.1:0", "admin": "127.0.0.1:0"},
        "admin": {"operators": [viewer]},
        "identity": {"order": ["forwarded_for"]},
        "models": {scene.name: {"detection": detection, "ladder": {"coarsen": {"outputs": labels}}}},
        "shutdown": {"settle": 0, "drain": 1},
        "log": {"format": "json"},
    }
    config = folder / "tensorwall.yaml"
    config.write_text(yaml.safe_dump(settings))
    with Child("the proxy", ["-m", "proxy", "serve", "--config", str(config)], folder / "proxy.log") as child:
        addresses = child.wait_for(lambda: _listening(child.output()), START_SECONDS, "listening")
        for said in ("ready", "detectors run"):
            child.wait_for(lambda said=said: f'"{said}"' in child.output() or None, START_SECONDS, said)
        yield addresses, token


def _listening(output: str) -> Addresses | None:
    for line in output.splitlines():
        if '"listening"' in line:
            event = json.loads(line)
            return event["grpc"], event["admin"]
    return None
