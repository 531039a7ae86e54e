"""tensorwall commands as subprocesses of a test: start, wait until ready, read the log, stop, leave nothing behind.

    with serving_backend({"toy": folder}) as backend, serving_proxy(tmp_path, backend.address) as proxy:
        channel = grpc.insecure_channel(proxy.address)

Leaving such a block sends SIGTERM and asserts exit code 0; a block that fails kills the process and notes its log.
"""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any

import grpc
import yaml

from protos import serving_pb2 as serving
from proxy.admin.operators import token_hash

TOKEN = "an-operator-of-the-tests-0123456789"
"""Of the operator `tester`, whom every proxy of `serving_proxy` has unless its settings say otherwise."""

START_SECONDS = 60.0
"""Long enough for TensorFlow to be imported on a busy machine."""

STOP_SECONDS = 20.0
POLL_SECONDS = 0.02

# PR_SET_PDEATHSIG outlives exec: when a test run is killed outright, the kernel ends what it started.
_DIE_WITH_PARENT = """
import ctypes, os, signal, sys
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)
os.execv(sys.executable, [sys.executable, "-m", "proxy", *sys.argv[1:]])
"""


class Running:
    """A tensorwall command in a process group of its own. Start it in the main thread: it dies with its thread.

    Args:
        arguments: the command line after `tensorwall`.
        environment: variables set beside the inherited ones.
    """

    def __init__(self, *arguments: str, environment: Mapping[str, str] | None = None) -> None:
        self.name = f"tensorwall {arguments[0]}"
        handle, path = tempfile.mkstemp(prefix="tensorwall-log-")
        self._log = Path(path)
        self.process = subprocess.Popen(
            [sys.executable, "-c", _DIE_WITH_PARENT, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=handle,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(environment or {})},
            start_new_session=True,
        )
        os.close(handle)

    def log(self) -> str:
        """All that the command has printed so far, standard output and error together."""
        return self._log.read_text(errors="replace")

    def events(self) -> list[dict[str, Any]]:
        """The lines of the log that are JSON objects."""
        found = []
        for line in self.log().splitlines():
            with contextlib.suppress(json.JSONDecodeError):
                found.append(json.loads(line))
        return [line for line in found if isinstance(line, dict)]

    def wait_until(self, condition: Callable[[], bool], what: str, seconds: float = START_SECONDS) -> None:
        """Polls until the condition holds.

        Raises:
            AssertionError: the command ended, or the time was up; the message ends with its log.
        """
        deadline = time.monotonic() + seconds
        while not condition():
            code = self.process.poll()
            assert code is None, f"{self.name} ended with {code} before it was {what}:\n{self.log()}"
            assert time.monotonic() < deadline, f"{self.name} was not {what} after {seconds} s:\n{self.log()}"
            time.sleep(POLL_SECONDS)

    def stop(self, seconds: float = STOP_SECONDS) -> int:
        """Sends SIGTERM and waits; the exit code.

        Raises:
            AssertionError: it did not end in time and was killed.
        """
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"{self.name} did not end within {seconds} s of SIGTERM:\n{self.log()}") from None

    def kill(self) -> None:
        """Ends the command, if it still runs, with all that it started."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()

    def __enter__(self) -> "Running":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            if error is not None:
                self.kill()
                error.add_note(f"log of {self.name}:\n{self.log()}")
            else:
                code = self.stop()
                assert code == 0, f"{self.name} ended with {code}:\n{self.log()}"
        finally:
            self.kill()
            self._log.unlink()


@dataclass(frozen=True)
class Proxy:
    """A ready `tensorwall serve`: `address` for gRPC, `admin` for HTTP, both host:port (or unix:/path)."""

    address: str
    admin: str
    process: Running


@dataclass(frozen=True)
class Backend:
    """A ready `tensorwall backend`: its gRPC address, host:port."""

    address: str
    process: Running


@contextlib.contextmanager
def serving_proxy(folder: Path, upstream: str | dict[str, Any], **settings: Any) -> Iterator[Proxy]:
    """A `tensorwall serve` in front of `upstream`, on free ports, waited for until /readyz says so.

    Args:
        folder: where its configuration is written.
        upstream: the model server's address, or the configuration's whole section.
        settings: further sections of the configuration; they win over what is set here.
    """
    tester = {"name": "tester", "role": "operator", "sha256": token_hash(TOKEN)}
    config: dict[str, Any] = {
        "upstream": upstream,
        "admin": {"operators": [tester]},
        "shutdown": {"settle": 0},
        "log": {"format": "json"},
        **settings,
    }
    config["listen"] = {"grpc": "127.0.0.1:0", "admin": "127.0.0.1:0", **config.get("listen", {})}
    path = folder / "tensorwall.yaml"
    path.write_text(yaml.safe_dump(config))
    with Running("serve", "--config", str(path)) as process:
        process.wait_until(lambda: bool(_listening(process)), "listening")
        address, admin = _listening(process)
        process.wait_until(lambda: _http_ok(f"http://{admin}/readyz"), "ready")
        yield Proxy(address, admin, process)


@contextlib.contextmanager
def serving_backend(models: Mapping[str, Path], *arguments: str) -> Iterator[Backend]:
    """A `tensorwall backend` with these models by name, waited for until each has a version to serve.

    Args:
        models: base folder of each model.
        arguments: further arguments of the command.
    """
    port = free_port()
    named = [argument for name, folder in models.items() for argument in ("--model", f"{name}={folder}")]
    with Running("backend", *named, "--port", str(port), *arguments) as process:
        address = f"127.0.0.1:{port}"
        with grpc.insecure_channel(address) as channel:
            for name in models:
                process.wait_until(partial(model_available, channel, name), f"serving {name}")
        yield Backend(address, process)


def model_available(channel: grpc.Channel, name: str) -> bool:
    """Whether the server behind the channel answers and has an AVAILABLE version of the model."""
    ask = channel.unary_unary("/tensorflow.serving.ModelService/GetModelStatus")
    request = serving.GetModelStatusRequest(model_spec=serving.ModelSpec(name=name))
    try:
        answer = ask(request.SerializeToString(), timeout=2, wait_for_ready=True)
    except grpc.RpcError:
        return False
    versions = serving.GetModelStatusResponse.FromString(answer).model_version_status
    return any(version.state == serving.ModelVersionStatus.AVAILABLE for version in versions)


def children(pid: int) -> list[int]:
    """Processes that a process started and that run still, those left out that ended and nobody asked about."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it ended meanwhile
            state, parent = path.read_text().rpartition(")")[2].split()[:2]
            if int(parent) == pid and state != "Z":
                found.append(int(path.parent.name))
    return found


def free_port() -> int:
    """A TCP port of the loopback interface that nothing listened on a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def admin_page(admin: str, path: str, token: str = TOKEN, timeout: float = 5) -> str:
    """What a page of an admin port says to an operator."""
    request = urllib.request.Request(f"http://{admin}{path}", headers={"Authorization": f"Bearer {token}"})
    with urllib.request.urlopen(request, timeout=timeout) as response:
        return str(response.read().decode())


def _listening(process: Running) -> tuple[str, ...]:
    """The gRPC and the admin address that the proxy's log names, or nothing yet."""
    for line in process.events():
        if "grpc" in line and "admin" in line:
            return str(line["grpc"]), str(line["admin"])
    return ()


def _http_ok(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as response:
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError):
        return False
