"""What is taken on the request path, with dice and a clock that a test has in its hand."""

import random
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest
from prometheus_client import CollectorRegistry

from proxy.capture.recorder import Recorder
from proxy.capture.source import Source
from proxy.codec import decode
from proxy.config.capture import Capture
from proxy.detection import Detection
from proxy.metrics.detection import DetectionMetrics
from proxy.upstream import Reply
from tests.capture.made import call


async def captured(folder: Path, seed: int, share: float, rows_per_hour: int = 10**6) -> list[float]:
    registry = CollectorRegistry()
    with ThreadPoolExecutor(1) as executor:
        detection = Detection(b"0123456789abcdef", DetectionMetrics(registry), executor)
        now = [0.0]
        recorder = Recorder(detection, registry, lambda: now[0], random.Random(seed))
        recorder.configure(
            Capture.model_validate({"path": str(folder), "models": {"toy": share}, "rows_per_hour": rows_per_hour})
        )
        for at in range(200):
            now[0] = 1000.0 + 60 * at
            made = call()
            decoded = decode(made.path, made.body)
            assert decoded is not None
            for code in (grpc.StatusCode.OK, grpc.StatusCode.UNAVAILABLE):
                reply = Reply(code, "", made.reply)
                recorder.answered(made.path, made.caller, decoded, made.body, reply, 0.25)
        await recorder.close()
    return [each.time for each in Source([str(folder)])]


async def test_the_dice_alone_decide_which_calls_are_captured(tmp_path: Path) -> None:
    one = await captured(tmp_path / "one", 1, 0.5)
    again = await captured(tmp_path / "again", 1, 0.5)
    other = await captured(tmp_path / "other", 2, 0.5)
    assert one == again != other
    assert 60 < len(one) < 140


async def test_times_are_those_at_which_calls_came(tmp_path: Path) -> None:
    found = await captured(tmp_path / "all", 0, 1.0)
    assert found == [pytest.approx(1000.0 + 60 * at - 0.25) for at in range(200)]


async def test_caps_are_of_the_hours_of_the_clock(tmp_path: Path) -> None:
    found = await captured(tmp_path / "few", 0, 1.0, rows_per_hour=5)
    hours = [int((time + 0.25) // 3600) for time in found]
    assert [hours.count(hour) for hour in range(4)] == [5, 5, 5, 5]
