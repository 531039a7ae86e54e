"""As many calls as are answered, so many in flight: h2load (C, of the nghttp2 project) sends one prepared body."""

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from benchmarks.throughput.framing import PREDICT, framed
from benchmarks.throughput.payloads import Payload
from benchmarks.throughput.processes import found_program

CONNECTIONS = 4
IN_FLIGHT = 32
"""Calls, over all connections."""
_HEADERS = ("te: trailers", "content-type: application/grpc", "grpc-timeout: 60S", "x-forwarded-for: 10.0.0.1")
_FEW = 4 * IN_FLIGHT
_MOST_SECONDS = 120
"""After which a measurement is given up."""


@dataclass(frozen=True, slots=True)
class Closed:
    """Calls that were answered, and the seconds that it took."""

    calls: int
    seconds: float


def warm_up(address: str, payload: Payload, body: Path, seconds: float) -> int:
    """Calls that take about so many seconds, found by doing some."""
    found = drive(address, payload, body, _FEW)
    found = drive(address, payload, body, max(_FEW, round(0.3 * seconds * found.calls / found.seconds)))
    return max(_FEW, round(seconds * found.calls / found.seconds))


def drive(address: str, payload: Payload, body: Path, calls: int, connections: int = CONNECTIONS) -> Closed:
    """Sends calls, IN_FLIGHT at a time, and waits for all answers.

    Raises:
        RuntimeError: an answer was not the whole reply. An answer with another status than OK has no message, so that
            the bytes of all answers together tell.
    """
    program = found_program("h2load")
    assert program is not None, "the run has looked for it"
    body.write_bytes(framed(payload.requests[0]))
    command = [program, "-c", str(connections), "-m", str(IN_FLIGHT // connections), "-n", str(calls), "-d", str(body)]
    headers = [argument for header in _HEADERS for argument in ("-H", header)]
    done = subprocess.run(
        [*command, *headers, f"http://{address}{PREDICT}"], capture_output=True, text=True, timeout=_MOST_SECONDS
    )
    took, succeeded = re.search(r"finished in ([\d.]+)(us|ms|s),", done.stdout), re.search(r"(\d+) 2xx", done.stdout)
    data = re.search(r"\((\d+)\) data", done.stdout)
    if took is None or succeeded is None or data is None:
        raise RuntimeError(f"h2load said: {done.stdout}{done.stderr}")
    if int(succeeded[1]) != calls or int(data[1]) != calls * len(framed(payload.reply)):
        raise RuntimeError(f"of {calls} calls not all were answered with the reply: {done.stdout}")
    return Closed(calls, float(took[1]) * {"us": 1e-6, "ms": 1e-3, "s": 1.0}[took[2]])
