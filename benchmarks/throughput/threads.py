"""Which threads spend the processor time of a call, with gRPC and the load of `make bench`: one small row, closed loop.

    python -m benchmarks.throughput.threads [--turns 3] [--seconds 2] [--report FILE]

Contenders are measured one after the other within a turn. What the machine does besides makes all of them dearer: they
lose their caches to it. Linux only (/proc).
"""

import argparse
import statistics
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from benchmarks.drill.readme import written
from benchmarks.throughput import closedloop
from benchmarks.throughput.contenders import LABELS, Contender, running
from benchmarks.throughput.payloads import payload
from benchmarks.throughput.processes import cpu_seconds, family, thread_seconds
from benchmarks.throughput.upstream import standing_in

CONTENDERS = ("bare", "off", "limits", "default")
KINDS = ("answering thread", "gRPC's threads", "detectors' process")
BEGIN, END = "<!-- threads -->", "<!-- end of threads -->"


def spent(contender: Contender) -> tuple[float, float, float]:
    """Seconds so far, in the order of KINDS; the main thread of the contender's process answers calls."""
    assert contender.pid is not None
    own, others = thread_seconds(contender.pid), family(contender.pid)[1:]
    return own, cpu_seconds([contender.pid]) - own, cpu_seconds(others)


def main() -> int:
    """Runs it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=2.0, help="of one turn")
    parser.add_argument("--report", type=Path, help="Markdown file to write the table into")
    arguments = parser.parse_args()
    asked = payload("image")
    with tempfile.TemporaryDirectory() as made, ExitStack() as stack:
        folder = Path(made)
        upstream, body = stack.enter_context(standing_in(folder, asked)), folder / "body"
        contenders = []
        for name in CONTENDERS:
            (folder / name).mkdir()
            contenders.append(stack.enter_context(running(name, folder / name, upstream, asked.name)))
        calls = [closedloop.warm_up(each.address, asked, body, arguments.seconds) for each in contenders]
        turns = [
            [_turn(each, body, count) for each, count in zip(contenders, calls, strict=True)]
            for _ in range(arguments.turns)
        ]
    lines = [f"| microseconds a call | {' | '.join(KINDS)} |", f"|---{'|---' * len(KINDS)}|"]
    for at, name in enumerate(CONTENDERS):
        costs = (statistics.median(turn[at][kind] for turn in turns) for kind in range(len(KINDS)))
        lines.append(f"| {LABELS[name]} | {' | '.join(f'{1e6 * cost:.0f}' for cost in costs)} |")
    table = "\n".join(lines) + "\n"
    print(table, end="")
    if arguments.report is not None:
        arguments.report.write_text(written(arguments.report.read_text(), table, BEGIN, END))
    return 0


def _turn(contender: Contender, body: Path, calls: int) -> list[float]:
    before = spent(contender)
    closedloop.drive(contender.address, payload("image"), body, calls)
    return [(after - began) / calls for after, began in zip(spent(contender), before, strict=True)]


if __name__ == "__main__":
    sys.exit(main())
