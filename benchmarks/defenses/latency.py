"""What a defense adds to a call: the same request through a bare and through the defended proxy, by turns."""

import statistics
import time

from benchmarks.defenses.results import Latency
from benchmarks.defenses.served import Caller, Images

WARM_UP = 3


def added(bare: Caller, defended: Caller, images: Images, calls: int) -> Latency:
    """Medians of `calls` calls each with these images (rows, H, W, 1)."""
    callers = (bare, defended)
    requests = [caller.request(images) for caller in callers]
    seconds: tuple[list[float], list[float]] = ([], [])
    for number in range(WARM_UP + calls):
        for caller, request, into in zip(callers, requests, seconds, strict=True):
            began = time.perf_counter()
            caller.send(request)
            if number >= WARM_UP:
                into.append(time.perf_counter() - began)
    bare_median, defended_median = map(statistics.median, seconds)
    return Latency(rows=len(images), bare=bare_median, defended=defended_median)
