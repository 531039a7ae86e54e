"""Bytes that each contender copies from memory to memory for a call, beside the bytes of its request and reply.

    python -m benchmarks.throughput.copies [--payloads image,photo] [--contenders bare,...] [--report FILE]

A library that is loaded into each process counts what memcpy and memmove are asked for (`copies.c`; it needs a C
compiler). What the kernel copies, from a socket and to one, comes on top and is the same for all. Linux only.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from benchmarks.drill.readme import written
from benchmarks.throughput import closedloop, payloads
from benchmarks.throughput.contenders import LABELS, running
from benchmarks.throughput.payloads import payload
from benchmarks.throughput.processes import family, found_program
from benchmarks.throughput.upstream import standing_in

CONTENDERS = ("bare", "envoy", "off", "limits", "default", "everything")
CALLS = 400
BEGIN, END = "<!-- copies -->", "<!-- end of copies -->"


def main() -> int:
    """Runs it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--payloads", default="image,photo", help="which")
    parser.add_argument("--contenders", default=",".join(CONTENDERS), help="which")
    parser.add_argument("--report", type=Path, help="Markdown file to write the table into")
    arguments = parser.parse_args()
    compiler = found_program("cc")
    if compiler is None:
        print("counting copies needs a C compiler, cc (apt-get install gcc libc6-dev)", file=sys.stderr)
        return 2
    names = arguments.payloads.split(",")
    with tempfile.TemporaryDirectory() as made:
        library = compiled(compiler, Path(made))
        found = {name: _copied(name, arguments.contenders.split(","), Path(made), library) for name in names}
    lines = [f"| kB a call | {' | '.join(payloads.LABELS[name] for name in names)} |", f"|---{'|---' * len(names)}|"]
    sent = (len(payload(name).requests[0]) + len(payload(name).reply) for name in names)
    lines.append(f"| request and reply | {' | '.join(f'{size / 1e3:.1f}' for size in sent)} |")
    for contender in arguments.contenders.split(","):
        copied = " | ".join(f"{found[name][contender] / 1e3:.1f}" for name in names)
        lines.append(f"| {LABELS[contender]} | {copied} |")
    table = "\n".join(lines) + "\n"
    print(table, end="")
    if arguments.report is not None:
        arguments.report.write_text(written(arguments.report.read_text(), table, BEGIN, END))
    return 0


def _copied(name: str, contenders: list[str], made: Path, library: Path) -> dict[str, float]:
    """Bytes a call by contender, of all its processes."""
    asked, folder, found = payload(name), made / name, {}
    folder.mkdir()
    with standing_in(folder, asked) as upstream:
        for contender in contenders:
            counts = folder / f"{contender}-counts"
            for each in (folder / contender, counts):
                each.mkdir()
            with ExitStack() as stack:
                with loaded(library, counts):
                    started = stack.enter_context(running(contender, folder / contender, upstream, asked.name))
                assert started.pid is not None, "the upstream alone copies nothing of a contender's"
                closedloop.drive(started.address, asked, folder / "body", CALLS)
                before = counted(counts, started.pid)
                closedloop.drive(started.address, asked, folder / "body", CALLS)
                found[contender] = (counted(counts, started.pid) - before) / CALLS
    return found


def compiled(compiler: str, folder: Path) -> Path:
    """The library that counts, made in a folder."""
    library, source = folder / "copies.so", Path(__file__).with_suffix(".c")
    subprocess.run([compiler, "-O2", "-shared", "-fPIC", "-fno-builtin", "-o", library, source, "-ldl"], check=True)
    return library


@contextmanager
def loaded(library: Path, counts: Path) -> Iterator[None]:
    """Processes that are started meanwhile count their copies, in this folder."""
    before = dict(os.environ)
    os.environ |= {"LD_PRELOAD": str(library), "COPIES_FOLDER": str(counts)}
    try:
        yield
    finally:
        for name in ("LD_PRELOAD", "COPIES_FOLDER"):
            del os.environ[name]
        os.environ |= before


def counted(counts: Path, pid: int) -> int:
    """Bytes that a process and all that it started have copied so far."""
    files = (counts / str(each) for each in family(pid))
    return sum(int.from_bytes(file.read_bytes()[:8], sys.byteorder) for file in files if file.exists())


if __name__ == "__main__":
    sys.exit(main())
