"""Microseconds of a call in the proxy's own code, gRPC left out: the path, with an upstream that answers at once.

    python -m benchmarks.throughput.path [--payloads image,...] [--profile] [--report docs/performance.md]

For each contender of tensorwall, the processor time of the thread that answers a call: the least of many rounds, which
what else the machine does moves little. --profile prints the functions that take most of it; --report puts the table
between its marks in a Markdown file.
"""

import argparse
import asyncio
import cProfile
import logging
import pstats
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc

from benchmarks.drill.readme import written
from benchmarks.throughput import payloads
from benchmarks.throughput.contenders import LABELS, settings
from benchmarks.throughput.framing import PREDICT
from benchmarks.throughput.payloads import Payload, payload
from proxy.config.schema import Config
from proxy.pipeline import Call, Pipeline
from proxy.server import Proxy
from proxy.upstream import Reply

CONTENDERS = ("off", "limits", "default", "everything")
ROUNDS, CALLS = 60, 50
BEGIN, END = "<!-- path -->", "<!-- end of path -->"


class _Context:
    """What the path asks of gRPC's."""

    def __init__(self) -> None:
        self.done: list[Callable[[Any], None]] = []

    def add_done_callback(self, callback: Callable[[Any], None]) -> None:
        self.done.append(callback)

    def invocation_metadata(self) -> tuple[tuple[str, str], ...]:
        return (("user-agent", "grpc-c++"), ("x-forwarded-for", "10.0.0.1"))

    def peer(self) -> str:
        return "ipv4:127.0.0.1:4321"

    def auth_context(self) -> dict[str, Any]:
        return {}

    def time_remaining(self) -> float:
        return 60.0


class _Upstream:
    """Answers at once."""

    def __init__(self, reply: bytes) -> None:
        self._reply = Reply(grpc.StatusCode.OK, body=reply)

    async def unary(self, *_: object) -> Reply:
        return self._reply


async def measured(name: str, asked: Payload, folder: Path, profiler: cProfile.Profile | None) -> float:
    """Seconds a call."""
    listen = {"grpc": "127.0.0.1:0", "admin": "127.0.0.1:0"}
    identity = {"order": ["forwarded_for", "peer"]}
    config = Config.model_validate(
        {"upstream": "127.0.0.1:1", "listen": listen, "identity": identity, **settings(name, asked.name, folder)}
    )
    proxy = Proxy(config)
    proxy._store = await proxy._open_store(config)
    pipeline = proxy._now.pipeline
    pipeline._upstream = _Upstream(asked.reply)  # type: ignore[assignment]
    at, least = 0, float("inf")
    for turn in range(ROUNDS):
        bodies = [asked.requests[(at + more) % len(asked.requests)] for more in range(CALLS)]
        at += CALLS
        if profiler is not None and turn:
            profiler.enable()
        began = time.thread_time()
        for body in bodies:
            await _answer(proxy, pipeline, body)
        least = min(least, (time.thread_time() - began) / CALLS)
        if profiler is not None:
            profiler.disable()
        proxy._detection._feed._queue.take(2**30)
    return least


async def _answer(proxy: Proxy, pipeline: Pipeline, body: bytes) -> None:
    call = Call(PREDICT, time.monotonic(), len(body))
    context = _Context()
    reply = await pipeline.answer(call, body, context)
    proxy._service._finished(call, reply)
    for callback in context.done:
        callback(context)


def main() -> int:
    """Runs it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--payloads", default=",".join(payloads.LABELS), help="which")
    parser.add_argument("--profile", action="store_true", help="print where the time goes; the profiler adds to it")
    parser.add_argument("--report", type=Path, help="Markdown file to write the table into")
    arguments = parser.parse_args()
    logging.disable(logging.WARNING)  # large images have the profile of small ones
    lines = [f"| | {' | '.join(LABELS[name] for name in CONTENDERS)} |", f"|---{'|---' * len(CONTENDERS)}|"]
    print("\n".join(lines))
    for name in arguments.payloads.split(","):
        with tempfile.TemporaryDirectory() as made:
            found = []
            for contender in CONTENDERS:
                profiler = cProfile.Profile() if arguments.profile else None
                folder = Path(made, contender)
                folder.mkdir()
                found.append(asyncio.run(measured(contender, payload(name), folder, profiler)))
                if profiler is not None:
                    pstats.Stats(profiler).sort_stats("tottime").print_stats(25)
        lines.append(f"| {payloads.LABELS[name]} | {' | '.join(f'{seconds * 1e6:.0f}' for seconds in found)} |")
        print(lines[-1], flush=True)
    if arguments.report is not None:
        table = "\n".join(lines) + "\n"
        arguments.report.write_text(written(arguments.report.read_text(), table, BEGIN, END))
    return 0


if __name__ == "__main__":
    sys.exit(main())
