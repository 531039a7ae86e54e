"""tensorwall side by side with what people would use instead: throughput, latency, CPU time and memory.

    python -m benchmarks.throughput [--seconds 2] [--turns 5] [--payloads image,...] [--contenders direct,...]
        [--loads 0.25,0.5,0.75] [--resume] [--out build/bench.json] [--report docs/performance.md]
        [--plot docs/bench.png]
    python -m benchmarks.throughput --only-report ...    # from the figures that are there

All contenders of a payload run at the same time in front of the same upstream and are measured by turns, each turn in
the other direction, so that what else the machine does meets all of them alike. Everything is on the loopback
interface. docs/performance.md says what is measured and how. What was found is in --out after each payload; --resume
keeps the payloads that are there already, if machine and settings are the same.
"""

import argparse
import json
import signal
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from tqdm import tqdm

from benchmarks.throughput import closedloop, contenders, payloads
from benchmarks.throughput.contenders import Contender
from benchmarks.throughput.framing import framed
from benchmarks.throughput.machine import Bystanders, described
from benchmarks.throughput.payloads import Payload, payload
from benchmarks.throughput.processes import cpu_seconds, family, found_program, memory_bytes
from benchmarks.throughput.report import plot, write_report
from benchmarks.throughput.results import HALF, LOADS, Asked, Measured, OpenTurn, Results, Turn, median
from benchmarks.throughput.upstream import standing_in
from benchmarks.throughput.watched import acted, watched

BASIS = "default"
"""Of its throughput the rates of open loop are shares; without it, of that of the last contender."""


NEEDED = {
    "h2load": "h2load (apt-get install nghttp2-client)",
    "envoy": "envoy (pip install 'tensorwall[bench]')",
}


def main() -> int:
    """Runs it."""
    arguments = _arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that what was started is ended
    if not arguments.only_report:
        lacking = [what for program, what in NEEDED.items() if found_program(program) is None]
        if lacking:
            print(f"the benchmark needs {' and '.join(lacking)}", file=sys.stderr)
            return 2
        _run(arguments)
    results = Results.model_validate_json(arguments.out.read_text())
    write_report(results, arguments.report)
    plot(results, arguments.plot)
    return 0


def _run(arguments: argparse.Namespace) -> None:
    machine = described()
    settings = {name: str(getattr(arguments, name)) for name in ("seconds", "turns", "loads", "contenders")}
    found = _found_before(arguments.out, machine, settings) if arguments.resume else {}
    lacking = [name for name in arguments.payloads.split(",") if name not in found]
    turns = len(lacking) * arguments.turns * len(arguments.contenders.split(",")) * (1 + len(arguments.loads))
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    with tqdm(total=turns, unit="turn", disable=None) as progress:
        for name in lacking:
            found[name] = _measured(name, arguments, progress)
            ordered = {each: found[each] for each in payloads.LABELS if each in found}
            results = Results(machine=machine, settings=settings, payloads=ordered)
            arguments.out.write_text(results.model_dump_json(indent=1) + "\n")


def _found_before(out: Path, machine: dict[str, str], settings: dict[str, str]) -> dict[str, Asked]:
    if not out.exists():
        return {}
    before = Results.model_validate_json(out.read_text())
    return dict(before.payloads) if before.goes_on(machine, settings) else {}


def _loads(text: str) -> tuple[float, ...]:
    loads = tuple(map(float, text.split(",")))
    if HALF not in loads:
        raise ValueError
    return loads


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=2.0, help="of one turn")
    parser.add_argument("--turns", type=int, default=5, help="of each contender, payload and load")
    parser.add_argument("--payloads", default=",".join(payloads.LABELS), help="which")
    parser.add_argument("--contenders", default=",".join(contenders.LABELS), help="which")
    parser.add_argument("--loads", type=_loads, default=LOADS, help=f"of open loop, as shares; {HALF} among them")
    parser.add_argument("--resume", action="store_true", help="keep what --out has of the same run")
    parser.add_argument("--out", type=Path, default=Path("build/bench.json"))
    parser.add_argument("--report", type=Path, help="Markdown file to write the tables into; else they are printed")
    parser.add_argument("--plot", type=Path, default=Path("build/bench.png"))
    parser.add_argument("--only-report", action="store_true", help="from the figures in --out")
    return parser.parse_args()


def _measured(name: str, arguments: argparse.Namespace, progress: "tqdm[None]") -> Asked:
    asked = payload(name)
    with tempfile.TemporaryDirectory() as made, ExitStack() as stack:
        folder = Path(made)
        upstream = stack.enter_context(standing_in(folder, asked))
        requests, running = folder / "requests", []
        requests.write_bytes(b"".join(map(framed, asked.requests)))
        for contender in arguments.contenders.split(","):
            (folder / contender).mkdir()
            running.append(stack.enter_context(contenders.running(contender, folder / contender, upstream, asked.name)))
        found = {each.name: Measured() for each in running}
        calls = {
            each.name: closedloop.warm_up(each.address, asked, folder / "body", arguments.seconds) for each in running
        }
        for turn in range(arguments.turns):
            for each in running[:: 1 if turn % 2 == 0 else -1]:
                found[each.name].closed.append(_closed(each, asked, folder / "body", calls[each.name]))
                progress.update()
        basis = found.get(BASIS, found[running[-1].name])
        rates = {str(load): load * median(basis.closed, lambda turn: turn.rate) for load in arguments.loads}
        for turn in range(arguments.turns):
            for load in arguments.loads:
                for each in running[:: 1 if turn % 2 == 0 else -1]:
                    command = [str(requests), str(len(framed(asked.reply))), str(rates[str(load)])]
                    command += [str(arguments.seconds), str(turn)]
                    found[each.name].open.append(_open(each, load, command))
                    progress.update()
        ended = {each.name: _ended(each, found[each.name], name) for each in running}
    return Asked(
        rows=asked.rows,
        request_bytes=len(asked.requests[0]),
        reply_bytes=len(asked.reply),
        rates=rates,
        contenders=ended,
    )


def _closed(contender: Contender, asked: Payload, body: Path, calls: int) -> Turn:
    bystanders, before = Bystanders(), _cpu(contender)
    done = closedloop.drive(contender.address, asked, body, calls)
    return Turn(calls=done.calls, seconds=done.seconds, cpu=_cpu(contender) - before, others=bystanders.share())


def _open(contender: Contender, load: float, arguments: list[str]) -> OpenTurn:
    command = [sys.executable, "-m", "benchmarks.throughput.openloop", contender.address, *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as driver:
        assert driver.stdout is not None
        if driver.stdout.readline() != "begin\n":
            raise RuntimeError(f"the load on {contender.name} could not start")
        bystanders, before = Bystanders(), _cpu(contender)
        found = json.loads(driver.stdout.readline())
        cpu = _cpu(contender) - before
    return OpenTurn(load=load, cpu=cpu, others=bystanders.share(), **found)


def _cpu(contender: Contender) -> float:
    return 0.0 if contender.pid is None else cpu_seconds(family(contender.pid))


def _ended(contender: Contender, found: Measured, name: str) -> Measured:
    """With what is known at the end."""
    update: dict[str, object] = {} if contender.pid is None else {"memory": memory_bytes(family(contender.pid))}
    if contender.admin is not None:
        update |= {"seen": watched(contender.admin, name), "acted": acted(contender.admin, name)}
    return found.model_copy(update=update)


if __name__ == "__main__":
    sys.exit(main())
