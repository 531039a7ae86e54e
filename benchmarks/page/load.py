"""10,000 callers and 1,000 events a minute: does the page stay usable, and the admin port off the request path?

    python -m benchmarks.page.load [--callers 10000] [--events 1000] [--rounds 4] [--seconds 15]

Calls are timed in turns: with nobody at the admin port, and with three operators' pages, whose stream and requests are
made as the page makes them but without a browser, which would only take the proxy's processor. Then a real Chromium
shows what an operator feels. Writes build/page.json.
"""

import argparse
import asyncio
import multiprocessing
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path

import aiohttp
import numpy as np
from playwright.sync_api import Page

from benchmarks.page.stage import Stage, report, request, stage
from tests.e2e.model_server import PREDICT
from tests.page.browser import chromium, tab
from tests.page.conftest import softmax
from tests.processes import TOKEN

ROW = np.zeros((1, 4), np.float32)
OPERATORS = 3
PACE = 2.0
SHARE = 4
"""As in main.js: seconds between two loads at least, and how many times as long as one took."""
LOADS = (
    "/summary",
    "/traffic",
    "/callers?limit=8&sort=score&order=desc",
    "/models",
    "/events?limit=10",
)
DASH = "\u2013"
_LONG_TASKS = """
window.longest = 0; window.blocked = 0;
new PerformanceObserver((list) => list.getEntries().forEach((entry) => {
  window.longest = Math.max(window.longest, entry.duration); window.blocked += entry.duration;
})).observe({ type: "longtask" });
"""


def address(at: int) -> str:
    """A caller's."""
    return f"10.{at >> 16 & 255}.{at >> 8 & 255}.{at & 255}"


def populate(on: Stage, callers: int) -> None:
    """One call each, to a model that nobody watches."""
    body = request("plain", ROW, "x")
    ask = on.channel.unary_unary(PREDICT)
    for start in range(0, callers, 64):
        calls = [
            ask.future(body, timeout=30, metadata=(("x-forwarded-for", address(at)),))
            for at in range(start, min(callers, start + 64))
        ]
        for call in calls:
            call.result()


@contextmanager
def happening(on: Stage, events: int) -> Iterator[None]:
    """So many verdicts a minute, each on a caller that had none."""
    over = threading.Event()
    body = request("fashion", ROW, "x")
    ask = on.channel.unary_unary(PREDICT)

    def act() -> None:
        at, began = 0, time.monotonic()
        while not over.wait(max(0.0, began + at * 60 / events - time.monotonic())):
            ask(body, timeout=30, metadata=(("x-forwarded-for", address(2**20 + at)),))
            at += 1

    thread = threading.Thread(target=act, daemon=True)
    thread.start()
    yield
    over.set()
    thread.join()


def timed(on: Stage, seconds: float) -> list[float]:
    """Latencies of calls one after the other."""
    body = request("plain", ROW, "x")
    ask = on.channel.unary_unary(PREDICT)
    found, end = [], time.monotonic() + seconds
    while time.monotonic() < end:
        began = time.perf_counter()
        ask(body, timeout=30, metadata=(("x-forwarded-for", address(7)),))
        found.append(time.perf_counter() - began)
        time.sleep(0.003)
    return found


@contextmanager
def watched(on: Stage, loads: list[float]) -> Iterator[None]:
    """Operators' pages, without a browser, in a process of their own."""
    spawn = multiprocessing.get_context("spawn")
    receive, send = spawn.Pipe(duplex=False)
    process = spawn.Process(target=_operators, args=(f"http://{on.proxy.admin}/api/v1", send), daemon=True)
    process.start()
    receive.recv()  # it has begun
    yield
    process.terminate()
    process.join()
    while receive.poll():
        loads.append(receive.recv())


def _operators(base: str, send: Connection) -> None:
    send.send(0.0)
    asyncio.run(_watch(base, send))


async def _watch(base: str, send: Connection) -> None:
    headers = {"Authorization": f"Bearer {TOKEN}"}
    async with aiohttp.ClientSession(headers=headers) as session, asyncio.TaskGroup() as group:
        for _ in range(OPERATORS):
            group.create_task(_follow(session, base))
            group.create_task(_load(session, base, send))


async def _follow(session: aiohttp.ClientSession, base: str) -> None:
    async with session.get(f"{base}/stream", timeout=aiohttp.ClientTimeout(total=None)) as answer:
        async for _ in answer.content:
            pass


async def _load(session: aiohttp.ClientSession, base: str, send: Connection) -> None:
    async def get(path: str) -> None:
        async with session.get(base + path) as answer:
            await answer.read()

    while True:
        began = time.perf_counter()
        await asyncio.gather(*(get(path) for path in LOADS))
        took = time.perf_counter() - began
        send.send(took)
        await asyncio.sleep(max(PACE, SHARE * took))
        await get("/traffic?seconds=10")


def quantile(values: list[float], share: float) -> float:
    """In milliseconds."""
    return round(1000 * float(np.quantile(values, share)), 3)


def path(on: Stage, rounds: int, seconds: float) -> dict[str, float]:
    """Calls' latency with and without operators, in turns; medians over the rounds."""
    alone: list[list[float]] = []
    seen: list[list[float]] = []
    loads: list[float] = []
    for _ in range(rounds):
        alone.append(timed(on, seconds))
        with watched(on, loads):
            seen.append(timed(on, seconds))
    half, most = (
        {"alone": [quantile(each, share) for each in alone], "seen": [quantile(each, share) for each in seen]}
        for share in (0.5, 0.99)
    )
    return {
        "calls": sum(map(len, alone)) + sum(map(len, seen)),
        "p50_ms_alone": statistics.median(half["alone"]),
        "p50_ms_watched": statistics.median(half["seen"]),
        "p99_ms_alone": statistics.median(most["alone"]),
        "p99_ms_watched": statistics.median(most["seen"]),
        "p99_ms_alone_least": min(most["alone"]),
        "p99_ms_alone_most": max(most["alone"]),
        "load_ms_median": round(1000 * statistics.median(loads), 1),
        "loads": len(loads),
    }


def feel(on: Stage, seconds: float) -> dict[str, float]:
    """What an operator feels, in a real browser."""
    with chromium() as browser, tab(browser, f"http://{on.proxy.admin}") as view:
        view.page.add_init_script(_LONG_TASKS)
        page = view.sign_in(TOKEN)
        page.get_by_role("heading", level=1, name="under way").wait_for()
        page.wait_for_timeout(1000 * seconds)
        found = {
            "overview_elements": page.evaluate("document.querySelectorAll('*').length"),
            "longest_task_ms": round(page.evaluate("window.longest")),
            "blocked_share": round(page.evaluate("window.blocked") / (1000 * seconds), 4),
        }
        found["to_callers_ms"] = took(page, "All callers", f"1{DASH}50 of")
        found["next_page_ms"] = took(page, "Next", f"51{DASH}100 of")
        found["sort_ms"] = took(page, "Rows", f"1{DASH}50 of")
        found["callers_elements"] = page.evaluate("document.querySelectorAll('*').length")
        began = time.perf_counter()
        page.get_by_label("Name or group contains").fill("10.0.3.77")
        page.get_by_text(f"1{DASH}1 of 1").wait_for()
        found["search_ms"] = round(1000 * (time.perf_counter() - began))
        found["heap_mb"] = round(page.evaluate("performance.memory.usedJSHeapSize") / 1e6, 1)
        return found


def took(page: Page, link: str, text: str) -> int:
    """Milliseconds from a click to what it was for."""
    began = time.perf_counter()
    page.get_by_role("link", name=link, exact=True).click()
    page.get_by_text(text).wait_for()
    return round(1000 * (time.perf_counter() - began))


def main() -> None:
    """Measures, prints and writes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--callers", type=int, default=10_000)
    parser.add_argument("--events", type=int, default=1000, help="a minute")
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=15, help="of each half of a round")
    asked = parser.parse_args()
    detection = {"own": [{"path": "tests.detection.own:Rows", "settings": {"most": 0}}]}
    models = {"fashion": {"detection": detection}, "plain": {}}
    with tempfile.TemporaryDirectory() as folder, stage(Path(folder), softmax, models) as on:
        populate(on, asked.callers)
        with happening(on, asked.events):
            time.sleep(5)
            figures = path(on, asked.rounds, asked.seconds) | feel(on, asked.seconds)
    report("page", {"callers": asked.callers, "events_a_minute": asked.events, **figures})
    for name, value in figures.items():
        print(f"{name:30} {value}")


if __name__ == "__main__":
    main()
