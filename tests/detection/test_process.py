"""The detectors' process: what becomes of it, and of the proxy without it."""

import os
import signal
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import yaml

from proxy.detection.process import DetectorProcess, EndedError, FailedError
from tests.calls import open_channel
from tests.detection.test_over_the_wire import ROWS, Detecting, ask, detecting, refusal, until, verdicts
from tests.processes import Backend, Proxy, children, serving_proxy
from tests.protection.conftest import Protected
from tests.protection.toy import X

__all__ = ["detecting"]


def started(proxy: Proxy) -> int:
    """The process, once it runs."""
    proxy.process.wait_until(lambda: len(children(proxy.process.process.pid)) == 1, "running its detectors")
    return children(proxy.process.process.pid)[0]


def gone(pid: int) -> bool:
    return (
        not Path(f"/proc/{pid}").exists() or Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    )


def restarts(protected: Protected) -> float:
    return protected.count("tensorwall_detection_restarts_total")


def seen(protected: Protected) -> float:
    return protected.count("tensorwall_observed_rows_total")


def wait(condition: Callable[[], Any], what: str, seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


def test_killed_it_comes_back_and_finds_again_while_calls_are_answered(detecting: Detecting) -> None:
    protected = detecting()
    first = started(protected.proxy)
    ask(protected, ROWS[:5], "10.0.0.2")
    protected.proxy.process.wait_until(lambda: seen(protected) == 5, "watching")
    assert 20e6 < protected.count("tensorwall_detection_memory_bytes") < 1e9
    assert protected.count("tensorwall_detection_cpu_seconds_total") > 0.1
    os.kill(first, signal.SIGKILL)
    ask(protected, ROWS[5:10], "10.0.0.3")  # is in flight, or waits
    protected.proxy.process.wait_until(lambda: restarts(protected) == 1, "told of it")
    second = started(protected.proxy)
    assert second != first
    ask(protected, ROWS[10:14], "10.0.0.2")
    ask(protected, ROWS[14:18], "10.0.0.2")
    protected.proxy.process.wait_until(
        lambda: seen(protected) + protected.count("tensorwall_unobserved_rows_total", reason="process") == 18, "back"
    )
    assert not verdicts(protected), (
        "what it knew before is forgotten, or it would have seen thirteen rows of one caller"
    )
    ask(protected, ROWS[20:40])
    until(protected, len)
    refusal(protected)
    told = [line for line in protected.proxy.process.events() if line["message"] == "the detectors' process ended"]
    assert [line["problem"] for line in told] == ["exit code -9"]


def test_a_detector_that_takes_it_along_costs_rows_in_flight_only(detecting: Detecting) -> None:
    protected = detecting(own=[{"path": "tests.detection.own:Deadly", "settings": {"most": 10}}])
    ask(protected, ROWS[:7], "10.6.6.6")
    protected.proxy.process.wait_until(lambda: restarts(protected) == 1, "told of it")
    assert protected.count("tensorwall_unobserved_rows_total", reason="process") == 7
    ask(protected, ROWS[:20])
    until(protected, len)
    assert seen(protected) == 20


@pytest.mark.parametrize("own", ["Rows", "Stuck"])
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_it_ends_with_the_proxy_whatever_it_does(toy: Backend, tmp_path: Path, own: str, how: signal.Signals) -> None:
    detection = {"mode": "shadow", "own": [{"path": f"tests.detection.own:{own}", "settings": {"most": 9}}]}
    killed = pytest.raises(AssertionError, match="ended with -9") if how is signal.SIGKILL else nullcontext()
    with killed, serving_proxy(tmp_path, toy.address, models={"toy": {"detection": detection}}) as proxy:
        running, pid = proxy.process, started(proxy)
        with open_channel(proxy.address) as channel:
            protected = Protected(proxy, channel)
            running.wait_until(lambda: protected.count("tensorwall_detector_up") == 7, "watching")
            for name in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
                os.kill(pid, name)
            ask(protected, X)
        time.sleep(0.3)  # Stuck is at it
        assert children(running.process.pid) == [pid], "signals of a terminal or an init are the proxy's business"
        if own == "Rows":
            os.kill(pid, signal.SIGSTOP)
        running.process.send_signal(how)
        running.process.wait(20)
        wait(lambda: gone(pid), "it outlived the proxy")


def test_it_runs_only_for_watched_models_and_a_reload_reaches_it(detecting: Detecting, tmp_path: Path) -> None:
    protected = detecting(mode="off")
    running = protected.proxy.process
    assert children(running.process.pid) == []
    path = tmp_path / "1" / "tensorwall.yaml"
    config = yaml.safe_load(path.read_text())

    def reload(**detection: Any) -> None:
        config["models"]["toy"]["detection"] |= detection
        path.write_text(yaml.safe_dump(config))

    ask(protected, ROWS[:20])
    reload(mode="enforce")
    pid = started(protected.proxy)
    ask(protected, ROWS[:8])
    running.wait_until(lambda: seen(protected) == 8, "watching")
    reload(own=[{"path": "tests.detection.own:Rows", "settings": {"most": 2}}])
    running.wait_until(lambda: len(said(protected)) == 2, "reloaded")
    ask(protected, ROWS[:5])
    shown = until(protected, len)
    assert shown[0]["evidence"][0]["seen"] == 5, "another detector, which knows nothing of the eight"
    assert children(running.process.pid) == [pid]
    reload(mode="off")
    running.wait_until(lambda: gone(pid), "without detectors")
    assert restarts(protected) == 0


def said(protected: Protected) -> list[dict[str, Any]]:
    return [line for line in protected.proxy.process.events() if line["message"] == "configuration reloaded"]


async def test_what_goes_wrong_is_told_and_the_wait_grows() -> None:
    now, ends = [0.0], []
    process = DetectorProcess(lambda: ends.append(now[0]), lambda: now[0])
    try:
        with pytest.raises(EndedError):
            await process.ask("history", "c")
        assert await process.start()
        assert await process.ask("history", "c") == {}
        with pytest.raises(FailedError, match="no attribute 'nonsense'"):
            await process.ask("nonsense")
        with pytest.raises(FailedError, match="pickle"):
            await process.ask("history", lambda: None)
        assert await process.ask("history", "c") == {}, "the two sides are in step"
        waits = []
        for _ in range(3):
            assert process.pid is not None
            os.kill(process.pid, signal.SIGKILL)
            with pytest.raises(EndedError):
                await process.ask("history", "c")
            assert not process.running
            before = now[0]
            while not await process.start():
                now[0] += 0.25
            waits.append(now[0] - before)
        assert waits == [0.5, 1.0, 2.0]
        assert len(ends) == 3
        assert await process.ask("history", "c") == {}
    finally:
        process.close()
