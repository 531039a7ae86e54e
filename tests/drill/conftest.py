"""The model `toy`, proxies that find whoever sends many rows, and the command over real sockets."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from detectors.profile import Profile
from proxy.__main__ import main
from tests.processes import TOKEN, Backend
from tests.protection.conftest import Protect, Protected, direct, protect, toy

__all__ = ["direct", "protect", "toy"]

Drill = Callable[..., tuple[int, dict[str, Any]]]
WEIGHTS = np.arange(12, dtype=np.float32).reshape(4, 3) / 10
"""Of `toy`: its class is the one with the largest sum."""


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rows of both signs, so that `toy` has two classes with a boundary between them, and rows of all other kinds."""
    rng = np.random.default_rng(0)
    x = rng.normal(0, 2, (400, 4)).astype(np.float32)
    y = (x @ WEIGHTS).argmax(axis=1)
    path = tmp_path_factory.mktemp("drill") / "rows.npz"
    np.savez(path, x=x[:200], y=y[:200], pool_x=x[200:], pool_y=y[200:], member_x=x[:40], member_y=y[:40])
    return path


@pytest.fixture
def finding(protect: Protect, tmp_path: Path) -> Callable[..., Protected]:
    """A proxy that finds callers with more than so many rows, and blocks them."""
    replace(Profile.defaults("toy", b"0123456789abcdef"), calibrated=True).write(tmp_path / "toy.json")

    def start(most: int, answer: str = "refuse", **identity: Any) -> Protected:
        detection = {
            "mode": "enforce",
            "profile": str(tmp_path / "toy.json"),
            "own": [{"path": "tests.detection.own:Rows", "settings": {"most": most}}],
            "policy": {"extraction": {"answer": answer}},
        }
        return protect({"detection": detection}, identity=identity or {"order": ["forwarded_for"]})

    return start


@pytest.fixture
def drill(toy: Backend, data: Path, tmp_path: Path) -> Drill:
    """Runs the command against a proxy; its exit code, and the results of all such commands of the test."""

    def run(protected: Protected, *more: str) -> tuple[int, dict[str, Any]]:
        out, token = tmp_path / "drill.json", tmp_path / "token"
        where = ["--target", protected.proxy.address, "--direct", toy.address, "--admin", protected.proxy.admin]
        token.write_text(TOKEN)
        where += ["--admin-token-file", str(token)]
        what = ["--model", "toy", "--data", str(data), "--radius", "0.2", "--out", str(out)]
        code = main(["drill", *where, *what, *more])
        return code, json.loads(out.read_text()) if out.exists() else {}

    return run
