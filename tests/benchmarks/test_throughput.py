"""The throughput benchmark's own instruments, over real sockets: stub, load generator, h2load, Envoy, /proc."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import grpc
import numpy as np
import pytest

from benchmarks.detection_cost.load import IN_FLIGHT
from benchmarks.detection_cost.load import Load as ClosedLoad
from benchmarks.detection_cost.traffic import reply
from benchmarks.throughput import closedloop, contenders
from benchmarks.throughput.framing import PREDICT, framed, unframed
from benchmarks.throughput.openloop import Load
from benchmarks.throughput.path import measured as measured_path
from benchmarks.throughput.payloads import Payload, payload
from benchmarks.throughput.processes import child, cpu_seconds, family, found_program, memory_bytes
from benchmarks.throughput.report import markdown
from benchmarks.throughput.results import LOADS, Asked, Measured, OpenTurn, Results, Turn
from benchmarks.throughput.upstream import standing_in
from protos import serving_pb2 as serving
from proxy.signatures import GET_MODEL_METADATA, metadata_request, signatures

SEED = 3


@pytest.fixture(scope="module", params=["table", "photo", "text"])
def asked(request: pytest.FixtureRequest) -> Payload:
    return payload(request.param, SEED)


@pytest.fixture(scope="module")
def upstream(asked: Payload, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with standing_in(tmp_path_factory.mktemp("upstream"), asked) as address:
        yield address


@pytest.fixture
def bare(upstream: str, tmp_path: Path) -> Iterator[contenders.Contender]:
    with contenders.running("bare", tmp_path, upstream, "") as found:
        yield found


def bodies(asked: Payload) -> list[bytes]:
    return [framed(request) for request in asked.requests]


def test_the_stub_answers_a_grpc_client_as_a_model_server_would(asked: Payload, upstream: str) -> None:
    with grpc.insecure_channel(upstream) as channel:
        for request in (min(asked.requests, key=len), max(asked.requests, key=len)):
            assert channel.unary_unary(PREDICT)(request, timeout=10) == asked.reply
        found = channel.unary_unary(GET_MODEL_METADATA)(metadata_request(asked.name), timeout=10)
        status = channel.unary_unary("/tensorflow.serving.ModelService/GetModelStatus")(b"", timeout=10)
    predict = serving.PredictRequest.FromString(asked.requests[0])
    shape = tuple(dim.size for dim in predict.inputs["x"].tensor_shape.dim)
    assert signatures(found)["serving_default"].inputs["x"].admits(shape)
    assert serving.GetModelStatusResponse.FromString(status).model_version_status[0].version == 1


def test_the_generator_gets_whole_answers_of_a_grpc_server_within_its_windows(
    asked: Payload, bare: contenders.Contender
) -> None:
    load = Load(bare.address, bodies(asked), len(framed(asked.reply)), np.random.default_rng(SEED))
    sent, ended, failed = load.run([0.0] * 60)
    assert failed == 0
    assert all(0 <= begun < end for begun, end in zip(sent, ended, strict=True))


def test_an_answer_of_another_length_is_a_failed_call(asked: Payload, upstream: str) -> None:
    load = Load(upstream, bodies(asked), len(framed(asked.reply)) - 1, np.random.default_rng(SEED))
    assert load.run([0.0, 0.0])[2] == 2


def test_a_stall_counts_for_all_who_were_due_meanwhile(tmp_path: Path) -> None:
    """A server that stops for half a second: calls that were due in that time have waited for the rest of it."""
    asked = payload("table", SEED)
    with standing_in(tmp_path, asked):
        pass  # its files are there
    stub = [sys.executable, "-m", "benchmarks.throughput.stub", str(tmp_path)]
    with child(stub, tmp_path / "log") as (port, pid):
        load = Load(f"127.0.0.1:{port}", bodies(asked), len(framed(asked.reply)), np.random.default_rng(SEED))
        due = np.linspace(0, 0.4, 41)
        os.kill(pid, signal.SIGSTOP)
        going_on = threading.Timer(0.5, os.kill, (pid, signal.SIGCONT))
        going_on.start()
        _, ended, failed = load.run(due.tolist())
        going_on.join()
    latencies = np.array(ended) - due
    assert failed == 0
    assert latencies[0] > 0.4
    assert np.quantile(latencies, 0.5) > 0.2, "calls sent into the stall count with all of their wait"
    assert np.allclose(np.array(ended)[:-1], ended[0], atol=0.15), "all ended together"


def test_h2load_counts_only_whole_replies(asked: Payload, bare: contenders.Contender, tmp_path: Path) -> None:
    if found_program("h2load") is None:
        pytest.skip("h2load is not installed: apt-get install nghttp2-client")
    done = closedloop.drive(bare.address, asked, tmp_path / "body", 64)
    assert done.calls == 64
    assert done.seconds > 0
    refused = Payload(asked.name, asked.rows, [b"\xff" * 200], asked.reply + b"more")
    with pytest.raises(RuntimeError, match="not all were answered"):
        closedloop.drive(bare.address, refused, tmp_path / "body", 64)


@pytest.mark.parametrize(
    "name", ["envoy", "envoy-limits", "off", "limits"]
)  # the others learn a profile first, which takes long
def test_each_contender_passes_the_reply_on(name: str, tmp_path: Path) -> None:
    asked = payload("text", SEED)
    (tmp_path / "own").mkdir()
    with (
        standing_in(tmp_path, asked) as upstream,
        contenders.running(name, tmp_path / "own", upstream, "text") as found,
    ):
        with grpc.insecure_channel(found.address) as channel:
            reply = channel.unary_unary(PREDICT)(
                asked.requests[0], timeout=20, metadata=(("x-forwarded-for", "10.0.0.1"),)
            )
        assert found.pid is not None
        assert cpu_seconds(family(found.pid)) > 0
        assert memory_bytes(family(found.pid)) > 2**20
    assert reply == asked.reply


def test_cpu_time_counts_all_descendants_and_threads(tmp_path: Path) -> None:
    burn = "import time\nwhile time.process_time() < 0.3: pass\ntime.sleep(60)"
    parent = f"import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', {burn!r}]); time.sleep(60)"
    process = subprocess.Popen([sys.executable, "-c", parent], start_new_session=True)
    try:
        deadline = time.monotonic() + 30
        while cpu_seconds([pid for pid in family(process.pid) if pid != process.pid]) < 0.1:
            assert time.monotonic() < deadline, "the child's time was not seen"
            time.sleep(0.05)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


async def test_the_path_is_measured_without_grpc(tmp_path: Path) -> None:
    """A call that the proxy refuses would raise."""
    asked = payload("table", SEED)
    assert [await measured_path(name, asked, tmp_path, None) > 0 for name in ("off", "limits")] == [True, True]


def test_framing_comes_apart_as_it_went_together() -> None:
    messages = [b"", b"a", b"b" * 70_000]
    assert unframed(b"".join(map(framed, messages))) == [framed(each) for each in messages]


def test_the_report_has_medians_spreads_and_ratios_within_turns() -> None:
    def measured(rates: list[float], cpu: float, p50: float) -> Measured:
        latency = {"0.5": p50, "0.9": 2 * p50, "0.99": 3 * p50, "0.999": 4 * p50}
        closed = [Turn(calls=round(rate), seconds=1, cpu=cpu * rate, others=0.1) for rate in rates]
        opened = [
            OpenTurn(calls=10, seconds=1, cpu=10 * cpu, others=0.1, load=load, failed=0, latency=latency, late=0)
            for load in LOADS
        ]
        return Measured(closed=closed, open=opened, memory=50_000_000)

    found = {
        "direct": measured([9000, 9000, 9000], 0, 1e-4),
        "bare": measured([1000, 2000, 4000], 4e-4, 5e-4),
        "envoy": measured([4000, 4000, 4000], 4e-5, 2e-4),
        "default": measured([900, 1600, 3600], 5e-4, 7e-4),
    }
    rates = {str(load): load * 1600 for load in LOADS}
    asked = Asked(rows=1, request_bytes=3200, reply_bytes=100, rates=rates, contenders=found)
    tables = markdown(Results(machine={"processors": "p", "system": "s", "versions": "v"}, payloads={"image": asked}))
    assert "| tensorwall, default protection | 1600 (900-3600) | 0.90 | 0.40 | 500 (500-500) | 50 |" in tables
    assert "Latency in ms at 800 calls a second" in tables
    assert "| tensorwall, default protection | 0.70 | 1.40 | 2.10 | 2.80 | +0.60 | +0.20 | 500 |" in tables
    assert "| 28x28x1, one row: calls/s, of bare grpc.aio pass-through | at least 0.8 | 0.90 |" in tables
    assert "| 28x28x1, one row: calls/s, of Envoy, pass-through | at least 0.5 | 0.40 |" in tables
    assert "p50 at half load, above bare grpc.aio pass-through | at most +0.30 ms | +0.20 ms |" in tables
    assert "quiet machine" not in tables


def test_a_run_goes_on_only_where_it_would_measure_the_same() -> None:
    before = Results(machine={"processors": "p"}, settings={"turns": "3"}, payloads={})
    assert before.goes_on({"processors": "p"}, {"turns": "3"})
    assert not before.goes_on({"processors": "p"}, {"turns": "5"})
    assert not before.goes_on({"processors": "other"}, {"turns": "3"})


def test_callers_keep_so_many_calls_in_flight_and_count_wrong_answers(asked: Payload, upstream: str) -> None:
    one, two = (
        ClosedLoad(upstream, bodies(asked), len(framed(asked.reply)) - wrong, np.random.default_rng(SEED))
        for wrong in (0, 1)
    )
    answered, seconds, failed = one.run(0.3)
    assert answered > IN_FLIGHT
    assert seconds == pytest.approx(0.3, abs=0.3)
    assert failed + one.end() == 0
    answered, _, failed = two.run(0.1)
    assert failed == answered > 0


def test_the_stub_gives_several_replies_in_turn(tmp_path: Path) -> None:
    first = payload("table", SEED)
    replies = [reply("table", 1, np.random.default_rng(seed)) for seed in range(3)]
    several = replace(first, reply=replies[0], others=tuple(replies[1:]))
    with standing_in(tmp_path, several) as address, grpc.insecure_channel(address) as channel:
        assert [channel.unary_unary(PREDICT)(first.requests[0], timeout=10) for _ in range(4)] == [*replies, replies[0]]
