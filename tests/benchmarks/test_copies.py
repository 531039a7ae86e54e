"""What counts the bytes that a process copies, against copies of a known size."""

import subprocess
import sys
from pathlib import Path

from benchmarks.throughput.copies import compiled, counted, loaded
from tests.programs import program

SIZE = 10_000_000


def copied(folder: Path, library: Path, copies: int) -> int:
    counts = folder / str(copies)
    counts.mkdir()
    code = f"import sys; held = bytes({SIZE}); [bytearray(held) for _ in range({copies})]; print(); sys.stdin.read()"
    with loaded(library, counts):
        process = subprocess.Popen(
            [sys.executable, "-S", "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
    with process:
        assert process.stdout is not None
        process.stdout.readline()
        found = counted(counts, process.pid)
        process.communicate()
    return found


def test_each_copy_counts_once(tmp_path: Path) -> None:
    library = compiled(program("gcc", "cc"), tmp_path)
    none, five = (copied(tmp_path, library, copies) for copies in (0, 5))
    assert 0 < none < SIZE  # what Python itself copies to start
    assert 5 * SIZE <= five - none < 5.1 * SIZE
