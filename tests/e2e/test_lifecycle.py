"""Start, reload, upstream outages and the end, as a platform engineer meets them: a real process under load."""

import json
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from pathlib import Path

import grpc
import pytest
import yaml

from protos import serving_pb2 as serving
from tests.e2e.model_server import PREDICT, ModelServer
from tests.processes import Proxy, Running, free_port, serving_proxy


class Load:
    """Callers in a closed loop. `codes` counts how calls ended; `slowest` is the longest call in seconds."""

    def __init__(self, address: str, callers: int = 8, deadline: float = 2.0) -> None:
        self.codes: Counter[str] = Counter()
        self.slowest = 0.0
        self._deadline = deadline
        self._stop = threading.Event()
        self._channel = grpc.insecure_channel(address, options=[("grpc.max_reconnect_backoff_ms", 200)])
        self._threads = [threading.Thread(target=self._loop, args=(n,), daemon=True) for n in range(callers)]
        for thread in self._threads:
            thread.start()

    def _loop(self, number: int) -> None:
        predict = self._channel.unary_unary(PREDICT)
        body = serving.PredictRequest(model_spec=serving.ModelSpec(name=f"m{number}")).SerializeToString()
        while not self._stop.is_set():
            started = time.monotonic()
            try:
                code = "OK" if predict(body, timeout=self._deadline) == body else "WRONG REPLY"
            except grpc.RpcError as error:
                code = error.code().name
                time.sleep(0.005)
            self.codes[code] += 1
            self.slowest = max(self.slowest, time.monotonic() - started)

    def until(self, code: str, more: int) -> None:
        """Returns once `more` further calls have ended with the code."""
        enough, limit = self.codes[code] + more, time.monotonic() + 20
        while self.codes[code] < enough:
            assert time.monotonic() < limit, f"only {self.codes} after 20 s"
            time.sleep(0.005)

    def end(self) -> None:
        """Stops the callers; their last calls are waited for."""
        self._stop.set()
        for thread in self._threads:
            thread.join()
        self._channel.close()


def admin(proxy: Proxy, path: str) -> str:
    with urllib.request.urlopen(f"http://{proxy.admin}{path}", timeout=5) as response:
        return str(response.read().decode())


def call(proxy: Proxy, path: str = PREDICT, body: bytes = b"") -> bytes:
    with grpc.insecure_channel(proxy.address) as channel:
        return bytes(channel.unary_unary(path)(body, timeout=5))


def test_the_upstream_stops_and_starts_under_load(tmp_path: Path) -> None:
    with ModelServer() as server, serving_proxy(tmp_path, server.address) as proxy:
        load = Load(proxy.address)
        load.until("OK", 100)
        server.stop()
        load.until("UNAVAILABLE", 50)
        server.start()
        load.until("OK", 100)
        load.end()
    # A server that ends at once may answer CANCELLED itself for what it was working on; that is passed on.
    assert {"OK", "UNAVAILABLE"} <= set(load.codes) <= {"OK", "UNAVAILABLE", "CANCELLED"}
    assert load.slowest < 2.5


def test_sigterm_under_load_fails_no_accepted_call(tmp_path: Path) -> None:
    """Calls are answered through the settling wait and the drain; after that the port is closed, and nothing hangs."""
    served: list[bytes] = []

    def slow(body: bytes, context: grpc.ServicerContext) -> bytes:
        time.sleep(0.05)
        served.append(body)
        return body

    shutdown = {"settle": 0.5, "drain": 10}
    with ModelServer(slow) as server, serving_proxy(tmp_path, server.address, shutdown=shutdown) as proxy:
        load = Load(proxy.address)
        load.until("OK", 50)
        proxy.process.process.send_signal(signal.SIGTERM)
        settled_from = load.codes["OK"]
        load.until("UNAVAILABLE", 1)
        answered = load.codes["OK"]
        assert proxy.process.process.wait(20) == 0
        load.end()
    assert answered - settled_from > 8, "calls are answered while settling"
    # gRPC's core cancels a stream that comes in the instant between its GOAWAY and the caller's notice of it.
    assert set(load.codes) <= {"OK", "UNAVAILABLE", "CANCELLED"}
    assert load.codes["CANCELLED"] <= 8
    assert len(served) == load.codes["OK"], "every call that reached the model server was answered"


def test_readiness_goes_before_the_port_does(tmp_path: Path) -> None:
    shutdown = {"settle": 3, "drain": 1}
    with ModelServer() as server, serving_proxy(tmp_path, server.address, shutdown=shutdown) as proxy:
        with grpc.insecure_channel(proxy.address) as channel:
            health = channel.unary_unary("/grpc.health.v1.Health/Check")
            assert health(b"") == b"\x08\x01"
            assert health(b"\x0a\x11PredictionService") == b"\x08\x01"
            proxy.process.process.send_signal(signal.SIGTERM)
            proxy.process.wait_until(lambda: health(b"") == b"\x08\x02", "not serving", 2)
            with pytest.raises(urllib.error.HTTPError, match="503"):
                admin(proxy, "/readyz")
            assert channel.unary_unary(PREDICT)(b"", timeout=5) == b""
            proxy.process.process.send_signal(signal.SIGTERM)  # a second signal: now
        assert proxy.process.process.wait(2) == 0


def test_a_new_configuration_is_taken_and_a_wrong_one_is_not(tmp_path: Path) -> None:
    method = "/tensorflow.serving.SessionService/SessionRun"
    with ModelServer() as server, serving_proxy(tmp_path, server.address) as proxy:
        path = tmp_path / "tensorwall.yaml"
        config = yaml.safe_load(path.read_text())

        def refused() -> bool:
            try:
                call(proxy, method)
            except grpc.RpcError as error:
                return error.code() is grpc.StatusCode.PERMISSION_DENIED
            return False

        assert refused()
        path.write_text(yaml.safe_dump({**config, "methods": {"allow": [method]}}))  # noticed by itself
        proxy.process.wait_until(lambda: not refused(), "reloaded", 10)
        path.write_text("upstream: nowhere\n")
        proxy.process.process.send_signal(signal.SIGHUP)
        proxy.process.wait_until(lambda: "the old one stays" in proxy.process.log(), "refusing", 10)
        assert "is not an address; write host:port" in proxy.process.log()
        assert call(proxy, method, b"x") == b"x"
        assert 'tensorwall_config_reloads_total{result="failed"} 1.0' in admin(proxy, "/metrics")


def test_a_reload_is_never_seen_as_not_ready(tmp_path: Path) -> None:
    """The model server answers probes late, so that what holds until the first one can be seen."""

    def late(body: bytes, context: grpc.ServicerContext) -> bytes:
        time.sleep(0.3)
        return ModelServer.status(server, body, context)

    with ModelServer() as server, serving_proxy(tmp_path, server.address, models={"m": {}}) as proxy:
        server.status_behaviour = late
        for count in (1, 2, 3):
            proxy.process.process.send_signal(signal.SIGHUP)
            reloaded = f'tensorwall_config_reloads_total{{result="ok"}} {count}.0'

            def seen(text: str = reloaded) -> bool:
                return text in admin(proxy, "/metrics")

            proxy.process.wait_until(seen, "reloaded", 10)
            assert json.loads(admin(proxy, "/readyz"))["ready"]


def test_an_upstream_is_replaced_without_a_failed_call(tmp_path: Path) -> None:
    with ModelServer() as old, ModelServer() as new, serving_proxy(tmp_path, old.address) as proxy:
        load = Load(proxy.address)
        load.until("OK", 50)
        path = tmp_path / "tensorwall.yaml"
        path.write_text(path.read_text().replace(old.address, new.address))
        proxy.process.wait_until(lambda: new.calls > 50, "sending to the new upstream", 10)
        load.end()
        assert set(load.codes) == {"OK"}


def test_calls_beyond_the_bound_are_refused_at_once(tmp_path: Path) -> None:
    release = threading.Event()

    def held(body: bytes, context: grpc.ServicerContext) -> bytes:
        release.wait(10)
        return body

    bounds = {"calls_in_flight": 2, "overload_status": "RESOURCE_EXHAUSTED"}
    with ModelServer(held) as server, serving_proxy(tmp_path, server.address, bounds=bounds) as proxy:
        channels = [
            grpc.insecure_channel(proxy.address, options=[("grpc.use_local_subchannel_pool", 1)]) for _ in range(3)
        ]
        stuck = [channel.unary_unary(PREDICT).future(b"", timeout=10) for channel in channels[:2]]
        proxy.process.wait_until(lambda: server.calls == 2, "holding two calls", 5)
        started = time.monotonic()
        with pytest.raises(grpc.RpcError) as refused:
            channels[2].unary_unary(PREDICT)(b"", timeout=10)
        assert time.monotonic() - started < 1
        assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        release.set()
        assert [future.result() for future in stuck] == [b"", b""]
        for channel in channels:
            channel.close()


def test_an_address_in_use_is_told_in_a_sentence(tmp_path: Path) -> None:
    with ModelServer() as server:
        for listen, key in (
            ({"grpc": server.address, "admin": "127.0.0.1:0"}, "listen.grpc"),
            ({"grpc": "127.0.0.1:0", "admin": server.address}, "listen.admin"),
        ):
            path = tmp_path / "c.yaml"
            path.write_text(yaml.safe_dump({"upstream": server.address, "listen": listen}))
            done = subprocess.run(
                [sys.executable, "-m", "proxy", "serve", "--config", str(path)],
                capture_output=True,
                text=True,
                timeout=30,
            )
            assert done.returncode == 1
            assert f"{key}: cannot listen on {server.address}" in done.stderr
            assert "Traceback" not in done.stderr


def test_proxies_that_share_a_port_share_its_connections(tmp_path: Path) -> None:
    listen = {"grpc": f"127.0.0.1:{free_port()}", "share_port": True}
    folders = [tmp_path / name for name in ("one", "other")]
    for folder in folders:
        folder.mkdir()
    with ModelServer() as server, serving_proxy(folders[0], server.address, listen=listen) as one:
        with serving_proxy(folders[1], server.address, listen=listen) as other:
            assert one.address == other.address
            for _ in range(64):  # all to one of two would be chance once in 2**63
                _call_on_a_new_connection(one.address)
            shares = [_answered(proxy) for proxy in (one, other)]
            assert sum(shares) == 64
            assert min(shares) > 0
        for _ in range(16):
            _call_on_a_new_connection(one.address)
        assert _answered(one) == shares[0] + 16


def _call_on_a_new_connection(address: str) -> None:
    with grpc.insecure_channel(address, options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
        channel.unary_unary(PREDICT)(b"", timeout=10)


def _answered(proxy: Proxy) -> int:
    with urllib.request.urlopen(f"http://{proxy.admin}/metrics", timeout=5) as page:
        lines = page.read().decode().splitlines()
    return round(sum(float(line.split()[-1]) for line in lines if line.startswith("tensorwall_calls_total{")))


def test_usage_and_configuration_errors_exit_with_2(tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text("upstream: nowhere")
    for arguments, text in (
        (
            ["serve", "--config", str(tmp_path / "bad.yaml")],
            "bad.yaml:1: upstream.targets[0]: 'nowhere' is not an address",
        ),
        (["serve", "--config", str(tmp_path / "no.yaml")], "no.yaml: No such file"),
        (["serve"], "--config"),
        (["check-config", str(tmp_path / "bad.yaml")], "is not an address"),
        (["fly"], "invalid choice"),
        ([], "COMMAND"),
    ):
        done = subprocess.run([sys.executable, "-m", "proxy", *arguments], capture_output=True, text=True, timeout=30)
        assert (done.returncode, "Traceback" in done.stderr) == (2, False)
        assert text in done.stderr


def test_check_config_prints_what_is_in_force(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("upstream: models:8500\nbounds: {message_bytes: 4MiB}")
    command = [sys.executable, "-m", "proxy", "check-config"]
    done = subprocess.run([*command, str(tmp_path / "c.yaml")], capture_output=True, text=True, timeout=30, check=True)
    shown = yaml.safe_load(done.stdout)
    assert shown["bounds"]["message_bytes"] == 4 * 2**20
    assert shown["upstream"]["targets"] == ["models:8500"]
    schema = subprocess.run([*command, "--schema"], capture_output=True, text=True, timeout=30, check=True)
    assert "upstream" in json.loads(schema.stdout)["required"]


def test_no_upstream_yet_is_not_ready_and_not_an_end(tmp_path: Path) -> None:
    port = free_port()
    path = tmp_path / "c.yaml"
    listen = {"grpc": "127.0.0.1:0", "admin": "127.0.0.1:0"}
    settings = {"upstream": f"127.0.0.1:{port}", "listen": listen, "shutdown": {"settle": 0}, "log": {"format": "json"}}
    path.write_text(yaml.safe_dump(settings))
    with Running("serve", "--config", str(path)) as process:
        process.wait_until(lambda: any("grpc" in line for line in process.events()), "listening")
        line = next(line for line in process.events() if "grpc" in line)
        with grpc.insecure_channel(str(line["grpc"])) as channel, pytest.raises(grpc.RpcError) as refused:
            channel.unary_unary(PREDICT)(b"", timeout=5)
        assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
        assert refused.value.details() == "the model server is not reachable"


def test_nothing_of_tensorflow_is_loaded() -> None:
    code = "import sys, proxy.serve, proxy.server; sys.exit(any(n.split('.')[0] == 'tensorflow' for n in sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
