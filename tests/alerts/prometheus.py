"""Prometheus and promtool, of Debian's package."""

import contextlib
import json
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.processes import free_port
from tests.programs import program

START_SECONDS = 30.0


def promtool(*arguments: str) -> None:
    """Runs it; asserts that it is content."""
    done = subprocess.run(
        [program("prometheus", "promtool"), *arguments], capture_output=True, text=True, timeout=110, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@dataclass(frozen=True)
class Prometheus:
    """A running one, on the loopback interface."""

    address: str

    def get(self, path: str, **parameters: str) -> Any:
        """What its API says."""
        url = f"http://{self.address}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        with urllib.request.urlopen(url, timeout=10) as answer:
            return json.load(answer)["data"]

    def query(self, query: str) -> list[dict[str, Any]]:
        """An instant vector."""
        found: list[dict[str, Any]] = self.get("query", query=query)["result"]
        return found

    def firing(self) -> dict[str, dict[str, Any]]:
        """Alerts that fire now, by name; the last of each."""
        return {
            alert["labels"]["alertname"]: alert for alert in self.get("alerts")["alerts"] if alert["state"] == "firing"
        }

    def until(self, condition: Callable[[], Any], what: str, seconds: float = START_SECONDS) -> None:
        """Waits for it."""
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, f"{what} did not come; firing: {sorted(self.firing())}"
            time.sleep(0.1)


@contextlib.contextmanager
def prometheus(folder: Path, targets: list[str], rules: str = "") -> Iterator[Prometheus]:
    """One that scrapes these addresses every second as job `tensorwall`, ended with the block."""
    (folder / "rules.yml").write_text(rules or "groups: []\n")
    config = {
        "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(folder / "rules.yml")],
        "scrape_configs": [{"job_name": "tensorwall", "static_configs": [{"targets": targets}]}],
    }
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    address = f"127.0.0.1:{free_port()}"
    command = [
        program("prometheus", "prometheus"),
        f"--config.file={folder / 'prometheus.yml'}",
        f"--web.listen-address={address}",
    ]
    command += [f"--storage.tsdb.path={folder / 'data'}", "--enable-feature=exemplar-storage", "--log.level=warn"]
    with (folder / "prometheus.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        _wait_for(process, address, folder / "prometheus.log")
        yield Prometheus(address)
    finally:
        process.terminate()
        process.wait(20)


def _wait_for(process: "subprocess.Popen[bytes]", address: str, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        with contextlib.suppress(OSError), urllib.request.urlopen(f"http://{address}/-/ready", timeout=2):
            return
        assert process.poll() is None, f"prometheus ended:\n{log.read_text()}"
        assert time.monotonic() < deadline, f"prometheus is not ready:\n{log.read_text()}"
        time.sleep(0.05)
