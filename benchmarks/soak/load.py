"""Callers in a process of their own, at a steady rate: benign ones that come and go, some who cancel, and an attack.

    python -m benchmarks.soak.load ADDRESS SECONDS INTERVAL RATE CALLERS SEED

prints a line of JSON each interval: how calls ended meanwhile, and quantiles of the answered ones' latency in ms. Calls
begin when they are due, whether or not earlier ones have ended, and latency is taken from when they were due.
"""

import asyncio
import json
import sys
import time
from collections import Counter
from dataclasses import dataclass, field

import grpc
import grpc.aio
import numpy as np
from numpy.typing import NDArray

from benchmarks.detection_cost.traffic import LOADS, natural, predict

PREDICT = "/tensorflow.serving.PredictionService/Predict"
LOAD = LOADS[0]
CANCELLED = 0.2
"""Share of calls that their callers cancel, at a random moment of the first CANCEL_SECONDS."""
CANCEL_SECONDS = 0.01
ATTACKING = 0.1
"""Share of calls that are an attack's."""
SQUARE, STEP = 3, 0.3
"""Pixels and change of the squares that the attack tries, as the Square attack (Andriushchenko et al. 2020) does."""
ROWS = 5000
BATCH = 8
"""Rows of a benign call at the most: as many as fill the detectors' tables in the first part of an hour."""
DEADLINE = 5.0
CONNECTIONS = 8


@dataclass
class Attack:
    """A search around one row, by one caller after the other: who is refused goes on under another name."""

    rng: np.random.Generator
    callers: int = 0
    row: NDArray[np.float32] = field(init=False)

    def __post_init__(self) -> None:
        self.found_out()

    @property
    def caller(self) -> str:
        return f"172.16.{self.callers // 250 % 250}.{self.callers % 250}"

    def ask(self) -> bytes:
        """The next row, near the last ones."""
        row = self.row.copy()
        top, left = self.rng.integers(0, np.array(LOAD.shape[:2]) - SQUARE + 1)
        row[:, top : top + SQUARE, left : left + SQUARE] += STEP * self.rng.choice((-1, 1))
        return predict(LOAD.name, row.clip(0, 1))

    def found_out(self) -> None:
        """Begins anew."""
        self.callers += 1
        self.row = natural(LOAD, 1, self.rng)


class Callers:
    """All of them.

    Args:
        channels: connections to the proxy, taken in turn.
        callers: benign ones; a window of a tenth of them calls at any time and moves on with each call.
        rng: of what they ask and when they cancel.
    """

    def __init__(self, channels: list[grpc.aio.Channel], callers: int, rng: np.random.Generator) -> None:
        self._predicts = [channel.unary_unary(PREDICT) for channel in channels]
        self._callers = callers
        self._rng = rng
        self._rows = natural(LOAD, ROWS, rng)
        self._attack = Attack(rng)
        self._count = 0
        self.ended: Counter[str] = Counter()
        self.latencies: list[float] = []

    async def call(self, due: float) -> None:
        """One call, of whoever's turn it is."""
        self._count += 1
        attacking = self._rng.random() < ATTACKING
        body, caller = (self._attack.ask(), self._attack.caller) if attacking else self._benign()
        predict_ = self._predicts[self._count % len(self._predicts)]
        call = predict_(body, timeout=DEADLINE, metadata=(("x-forwarded-for", caller),))
        if self._rng.random() < CANCELLED:
            asyncio.get_running_loop().call_later(self._rng.uniform(0, CANCEL_SECONDS), call.cancel)
        try:
            await call
            self.ended["OK"] += 1
            self.latencies.append(time.perf_counter() - due)
        except asyncio.CancelledError:
            self.ended["CANCELLED"] += 1
        except grpc.aio.AioRpcError as error:
            self.ended[error.code().name] += 1
            if attacking and error.code() is grpc.StatusCode.PERMISSION_DENIED:
                self._attack.found_out()

    def _benign(self) -> tuple[bytes, str]:
        at = (self._count // 10 + int(self._rng.integers(max(1, self._callers // 10)))) % self._callers
        rows = self._rows[self._rng.integers(ROWS, size=self._rng.integers(1, BATCH + 1))]
        noise = self._rng.normal(0, 0.1, rows.shape).astype(np.float32)
        caller = f"10.{at // 62500}.{at // 250 % 250}.{at % 250}"
        return predict(LOAD.name, (rows + noise).clip(0, 1)), caller

    def told(self) -> dict[str, object]:
        """What happened since the last time."""
        ended, self.ended = self.ended, Counter()
        taken, self.latencies = self.latencies, []
        p50, p99 = 1000 * np.quantile(taken, (0.5, 0.99)) if taken else (0.0, 0.0)
        return {"ended": dict(ended), "p50_ms": round(float(p50), 3), "p99_ms": round(float(p99), 3)}


async def _drive(address: str, seconds: float, interval: float, rate: float, callers: int, seed: int) -> None:
    options = [("grpc.use_local_subchannel_pool", 1)]
    channels = [grpc.aio.insecure_channel(address, options=options) for _ in range(CONNECTIONS)]
    them = Callers(channels, callers, np.random.default_rng(seed))
    began = time.perf_counter()
    working: set[asyncio.Task[None]] = set()
    calls, told = 0, 1
    while (now := time.perf_counter() - began) < seconds:
        while calls / rate <= now:
            task = asyncio.create_task(them.call(began + calls / rate))
            working.add(task)
            task.add_done_callback(working.discard)
            calls += 1
        if now >= told * interval:
            print(json.dumps({"second": round(now, 1), **them.told()}), flush=True)
            told += 1
        await asyncio.sleep(max(0.001, calls / rate - now))
    await asyncio.gather(*working)
    for channel in channels:
        await channel.close()


if __name__ == "__main__":
    _address, *_numbers = sys.argv[1:]
    _seconds, _interval, _rate, _callers, _seed = map(float, _numbers)
    asyncio.run(_drive(_address, _seconds, _interval, _rate, int(_callers), int(_seed)))
