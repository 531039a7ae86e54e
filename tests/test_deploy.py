"""The manifests for several proxies: their configurations are good ones, and nobody is killed while it drains."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from proxy.config import Config, load

DEPLOY = Path(__file__).parents[1] / "deploy"
SECRET = "0123456789abcdef0123456789abcdef"


def kinds() -> dict[str, Any]:
    return {each["kind"]: each for each in yaml.safe_load_all((DEPLOY / "kubernetes" / "proxy.yaml").read_text())}


def drained(config: Config) -> float:
    """Seconds from SIGTERM to the end, at most."""
    return config.shutdown.settle + config.shutdown.drain


def test_the_workers_of_a_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (DEPLOY / "systemd" / "config.yaml").read_text().replace("/var/log/tensorwall", str(tmp_path))
    (tmp_path / "config.yaml").write_text(text)
    monkeypatch.setenv("TENSORWALL_SECRET", SECRET)
    found = []
    for worker in ("1", "2"):
        monkeypatch.setenv("WORKER", worker)
        found.append(load(tmp_path / "config.yaml"))
    first, second = found
    assert first.listen.grpc == second.listen.grpc
    assert first.listen.share_port
    assert first.listen.admin != second.listen.admin
    assert first.events.file is not None
    assert second.events.file is not None
    assert first.events.file.path != second.events.file.path
    unit = (DEPLOY / "systemd" / "tensorwall@.service").read_text()
    patience = re.search(r"^TimeoutStopSec=(\d+)$", unit, re.MULTILINE)
    assert patience is not None
    assert float(patience[1]) > drained(first)
    assert "\nEnvironment=WORKER=%i\n" in unit


def test_the_pods_of_a_deployment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = kinds()
    (tmp_path / "config.yaml").write_text(found["ConfigMap"]["data"]["config.yaml"])
    monkeypatch.setenv("TENSORWALL_SECRET", SECRET)
    config = load(tmp_path / "config.yaml")
    pod = found["Deployment"]["spec"]["template"]["spec"]
    assert pod["terminationGracePeriodSeconds"] > drained(config)
    (container,) = pod["containers"]
    ports = {each["name"]: each["containerPort"] for each in container["ports"]}
    assert config.listen.grpc == f"0.0.0.0:{ports['grpc']}"
    assert config.listen.admin == f"0.0.0.0:{ports['admin']}", "probes and Prometheus come from outside the pod"
    assert container["readinessProbe"]["httpGet"] == {"path": "/readyz", "port": "admin"}
    labels = found["Deployment"]["spec"]["template"]["metadata"]["labels"]
    assert labels == found["Service"]["spec"]["selector"]
