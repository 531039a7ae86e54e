"""Limits over a real socket: refused with what a client needs to come back, in memory and on one Redis for two."""

import threading
import time
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from google.rpc import error_details_pb2, status_pb2

from tests.processes import START_SECONDS
from tests.protection.conftest import Protect, Protected
from tests.protection.toy import X, predict
from tests.redis_server import redis_server

HOURLY: dict[str, Any] = {"by": "caller", "rate": "10/h", "burst": 10}


def admitted_rows(protected: Protected, calls: int, rows: int = 1) -> int:
    admitted = 0
    for _ in range(calls):
        try:
            predict(protected.channel, x=np.repeat(X[:1], rows, axis=0))
            admitted += rows
        except grpc.RpcError as error:
            if error.code() is not grpc.StatusCode.RESOURCE_EXHAUSTED:
                raise
    return admitted


def test_a_refusal_says_what_and_when(protect: Protect) -> None:
    protected = protect({"limits": [HOURLY]})
    assert admitted_rows(protected, 5, rows=3) == 9
    with pytest.raises(grpc.RpcError) as caught:
        predict(protected.channel, x=X)
    error: Any = caught.value
    trailing = dict(error.trailing_metadata())
    status = status_pb2.Status.FromString(trailing["grpc-status-details-bin"])
    kinds = (error_details_pb2.ErrorInfo(), error_details_pb2.QuotaFailure(), error_details_pb2.RetryInfo())
    for detail, kind in zip(status.details, kinds, strict=True):
        assert detail.Unpack(kind)
    assert kinds[0].reason == "ROWS_RATE_LIMIT"
    assert kinds[2].retry_delay.ToMilliseconds() == int(trailing["grpc-retry-pushback-ms"]) > 300_000
    assert protected.count("tensorwall_limit_decisions_total", outcome="over") == 3
    assert protected.count("tensorwall_limit_decisions_total", outcome="near") == 1
    assert protected.count("tensorwall_handled_rows_total", model="toy", outcome="limited") == 8


def test_limits_of_all_calls_of_the_model_and_of_a_ladder_step(protect: Protect) -> None:
    everywhere = protect({"limits": [HOURLY | {"rate": "5/h", "burst": 5}]}, limits=[HOURLY | {"burst": 3}])
    assert admitted_rows(everywhere, 8) == 3
    ladder = {"throttle": {"limits": [HOURLY | {"burst": 1}]}}
    throttled = protect({"limits": [HOURLY], "ladder": ladder}, callers={"peer:127.0.0.1": "throttle"})
    assert admitted_rows(throttled, 4) == 1


def test_a_shadow_limit_refuses_nobody(protect: Protect) -> None:
    protected = protect({"limits": [HOURLY | {"mode": "shadow"}]})
    assert admitted_rows(protected, 15) == 15
    assert protected.count("tensorwall_limit_decisions_total", mode="shadow", outcome="over") == 5


def test_calls_in_flight_come_back(protect: Protect) -> None:
    protected = protect({"limits": [{"by": "caller", "in_flight": 2}]})
    for _ in range(5):
        assert admitted_rows(protected, 1) == 1
    deadline = time.monotonic() + START_SECONDS
    while protected.count("tensorwall_store_keys", measure="slots"):  # given back once gRPC has sent the reply
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_two_proxies_share_a_redis_and_outlive_it(protect: Protect, tmp_path: Path) -> None:
    with redis_server(tmp_path) as server:
        store = {"kind": "redis", "url": server.url, "on_failure": "closed", "timeout": 2}
        pair = [protect({"limits": [HOURLY | {"burst": 100}]}, store=store) for _ in range(2)]
        sums = [0, 0]

        def load(which: int) -> None:
            sums[which] = admitted_rows(pair[which], 80)

        threads = [threading.Thread(target=load, args=(which,)) for which in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sum(sums) == 100
        server.kill()
        with pytest.raises(grpc.RpcError) as caught:
            predict(pair[0].channel, x=X)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        assert pair[0].count("tensorwall_store_up") == 0
        server.start()
        pair[0].proxy.process.wait_until(lambda: pair[0].count("tensorwall_store_up") == 1, "back with its store")
        assert admitted_rows(pair[0], 1) == 1
