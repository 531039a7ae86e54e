"""Feeds a target with mutated inputs and watches what it does with them."""

import contextlib
import gc
import hashlib
import random
import signal
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.fuzz.messages import mutated_message
from tests.fuzz.mutate import mutated
from tests.fuzz.process import forget_peak, peak_bytes, resident_bytes
from tests.fuzz.target import GROWTH, SMALL_INPUT, Target, corpus

POOL = 500
"""Inputs of which new ones are made."""
POOLED_BYTES = 32 * 2**10
"""Longer ones are not among them."""
BLOCK = 64
"""Inputs whose memory is looked at together; if they took more than one may, each is read again by itself."""
QUICK = 0.25
"""Seconds from which an input is read again, to see whether it was the input or the machine."""
AGAIN = 3
"""Times that it is read again; what counts is the least."""
PATIENCE = 60.0
"""Seconds after which an input hangs the target."""


class HangError(Exception):
    """An input has not been read after PATIENCE."""


class EndedError(Exception):
    """The target's process is no more."""


@dataclass
class Report:
    """What a run has shown.

    Attributes:
        name: of the target.
        inputs: how many were read.
        verdicts: how often each was given.
        findings: what must not be, with an input that showed it.
        slowest: seconds that the slowest input took.
        growth: bytes that an input took for each of its own, at the most; small inputs count as SMALL_INPUT.
        kept: bytes by which the process was larger at the end than after the seeds.
        seconds: that the run took.
    """

    name: str
    inputs: int = 0
    verdicts: Counter[str] = field(default_factory=Counter)
    findings: dict[str, bytes] = field(default_factory=dict)
    slowest: float = 0.0
    growth: float = 0.0
    kept: int = 0
    seconds: float = 0.0


def fuzz(
    target: Target, inputs: int, seed: int, told: Callable[[int], object] = lambda _: None, seconds: float = 1e9
) -> Report:
    """Reads the corpus, the seeds and then mutated inputs.

    Args:
        target: reads them.
        inputs: how many in all; corpus and seeds are read in any case.
        seed: of the mutations; the same seed makes the same inputs as long as the target gives the same verdicts.
        told: of inputs read.
        seconds: after which the run ends early.
    """
    rng = random.Random(f"{target.name} {seed}")
    report = Report(target.name)
    began = time.monotonic()
    kept = corpus(target.name)
    pool = [*kept, *target.seeds()]
    _read(target, pool, report)
    told(len(pool))
    pool = [data for data in pool if len(data) <= POOLED_BYTES]
    before = after = resident_bytes(target.pid)
    while report.inputs < inputs and time.monotonic() - began < seconds:
        made = [_made(target, rng, pool) for _ in range(min(BLOCK, inputs - report.inputs))]
        try:
            new = _read(target, made, report)
            after = resident_bytes(target.pid)
        except EndedError:
            report.findings.setdefault("the process has ended, by one of the 64 inputs up to this one", made[-1])
            break
        for data in new:
            if len(data) <= POOLED_BYTES:
                pool.append(data)
                if len(pool) > POOL:
                    del pool[rng.randrange(len(kept), len(pool))]
        told(len(made))
    report.kept = after - before
    report.seconds = time.monotonic() - began
    return report


def _made(target: Target, rng: random.Random, pool: Sequence[bytes]) -> bytes:
    data = rng.choice(pool)
    held = target.message(data)
    if held is None or rng.random() < 0.15:
        made = mutated(data, rng, pool, target.tokens)
        return target.mended(made) if rng.random() < 0.7 else made
    where, form = held
    head, foot = data[: where.start], data[where.stop :]
    if head and rng.random() < 0.1:
        head = mutated(head, rng, (), target.tokens)
    made = head + mutated_message(data[where], form, rng, pool, target.tokens) + foot
    return target.mended(made) if rng.random() < 0.9 else made


def _read(target: Target, block: Sequence[bytes], report: Report) -> list[bytes]:
    """Reads inputs; those whose verdict is new."""
    before = resident_bytes(target.pid)
    forget_peak(target.pid)
    new = [data for data in block if _one(target, data, report)]
    try:
        taken = peak_bytes(target.pid) - before
    except FileNotFoundError:
        raise EndedError from None
    if taken <= GROWTH * SMALL_INPUT:
        report.growth = max(report.growth, taken / SMALL_INPUT)
    else:
        for data in block:
            _weigh(target, data, report)
    return new


def _one(target: Target, data: bytes, report: Report) -> bool:
    """Reads one input; whether its verdict is new."""
    verdict, seconds = _run(target, data, report)
    if seconds > QUICK:
        seconds = min(seconds, *(_run(target, data, report)[1] for _ in range(AGAIN)))
    if seconds > target.seconds:
        report.findings.setdefault(f"takes {seconds:.1f} s for {len(data)} bytes", data)
    report.slowest = max(report.slowest, seconds)
    report.inputs += 1
    report.verdicts[verdict] += 1
    return report.verdicts[verdict] == 1


def _run(target: Target, data: bytes, report: Report) -> tuple[str, float]:
    began = time.perf_counter()
    try:
        with _patience():
            verdict = target.run(data)
    except Exception as error:
        verdict = "CRASH"
        where = traceback.extract_tb(error.__traceback__)[-1]
        place = f"{Path(where.filename).name}:{where.lineno}"
        report.findings.setdefault(f"{type(error).__name__}: {error!s:.160} ({place})", data)
    return verdict, time.perf_counter() - began


def _weigh(target: Target, data: bytes, report: Report) -> None:
    """Reads an input again for its memory. What a process keeps for later looks like growth, but once only."""
    growth = float("inf")
    for _ in range(AGAIN):
        gc.collect()
        before = resident_bytes(target.pid)
        forget_peak(target.pid)
        _run(target, data, report)
        taken = max(0, peak_bytes(target.pid) - before)
        growth = min(growth, taken / max(len(data), SMALL_INPUT))
        if growth <= min(report.growth, GROWTH):
            return
    report.growth = max(report.growth, growth)
    if growth > GROWTH:
        report.findings.setdefault(f"takes {growth:.0f} times its size in memory, for {len(data)} bytes", data)


@contextlib.contextmanager
def _patience() -> Iterator[None]:
    def hang(number: int, frame: Any) -> None:
        raise HangError(f"not read after {PATIENCE:.0f} s")

    before = signal.signal(signal.SIGALRM, hang)
    signal.setitimer(signal.ITIMER_REAL, PATIENCE)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def save(report: Report, folder: Path) -> None:
    """Writes the inputs of a run's findings, one a file, to be looked at and put into the corpus."""
    for data in report.findings.values():
        folder.mkdir(parents=True, exist_ok=True)
        (folder / hashlib.sha256(data).hexdigest()[:16]).write_bytes(data)
