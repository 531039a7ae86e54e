"""Callers in a process of their own: so many calls in flight, for so long.

    python -m benchmarks.detection_cost.load ADDRESS LOAD SECONDS SEED

prints `begin` once it is warm, and at the end the calls that were answered meanwhile, the seconds, and how many of the
calls failed.
"""

import asyncio
import itertools
import sys
import time

import grpc
import grpc.aio
import numpy as np

from benchmarks.detection_cost.traffic import LOADS, requests

PREDICT = "/tensorflow.serving.PredictionService/Predict"
IN_FLIGHT = 16
CALLERS = 100
WARM_UP = 1.0
"""Seconds before the calls count."""
MOST = 20_000
"""Distinct requests that are made before."""


async def _drive(address: str, name: str, seconds: float, seed: int) -> None:
    load = next(each for each in LOADS if each.name == name)
    bodies = itertools.cycle(requests(load, MOST, seed))
    rng = np.random.default_rng(seed)
    callers = itertools.cycle(rng.integers(0, CALLERS, 1009).tolist())
    answered = failed = 0
    ending = False

    async def work(predict: grpc.aio.UnaryUnaryMultiCallable) -> None:
        nonlocal answered, failed
        while not ending:
            at = next(callers)
            try:
                await predict(next(bodies), metadata=(("x-forwarded-for", f"10.{at}.0.1"),))
                answered += 1
            except grpc.aio.AioRpcError:
                failed += 1

    async with grpc.aio.insecure_channel(address) as channel:
        workers = [asyncio.create_task(work(channel.unary_unary(PREDICT))) for _ in range(IN_FLIGHT)]
        await asyncio.sleep(WARM_UP)
        print("begin", flush=True)
        began, before = time.perf_counter(), answered
        await asyncio.sleep(seconds)
        print(answered - before, time.perf_counter() - began, failed, flush=True)
        ending = True
        await asyncio.gather(*workers)


if __name__ == "__main__":
    asyncio.run(_drive(sys.argv[1], sys.argv[2], float(sys.argv[3]), int(sys.argv[4])))
