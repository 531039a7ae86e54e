"""The long run: many inputs for every target, each target in a process of its own, a table at the end."""

import argparse
import gc
import json
import logging
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

from tqdm import tqdm

from tests.fuzz.driver import Report, fuzz, save
from tests.fuzz.process import give_back
from tests.fuzz.target import GROWTH, MAX_BYTES, SMALL_INPUT, Plain
from tests.fuzz.targets import TARGETS
from tests.fuzz.targets.config import Configuration


def main() -> int:
    """Runs it; 0 if nothing was found."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--inputs", type=int, default=100_000, help="of each target")
    parser.add_argument("--seconds", type=float, default=1e9, help="after which a target's run ends, however few")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--target", choices=list(TARGETS), action="append", help="only this one; may be repeated")
    parser.add_argument("--replay", type=Path, metavar="FILE", help="reads one input, with its traceback")
    parser.add_argument("--out", type=Path, default=Path("build/fuzz.json"), metavar="FILE")
    arguments = parser.parse_args()
    if arguments.out.is_dir():
        parser.error(f"--out: {arguments.out} is a folder; name a file, FOLDER/fuzz.json say")
    names = arguments.target or list(TARGETS)
    if arguments.replay is not None:
        with TARGETS[names[0]]() as target:
            print(target.run(arguments.replay.read_bytes()))
        return 0
    if len(names) == 1:
        rows = [_row(_one(names[0], arguments))]
    else:
        rows = [row for name in names for row in _apart(name, arguments)]
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(rows, indent=1) + "\n")
    if len(names) > 1 or arguments.out.name == "fuzz.json":
        print(_table(rows))
    return int(any(row["findings"] for row in rows))


def _one(name: str, arguments: argparse.Namespace) -> Report:
    give_back()
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    with TARGETS[name]() as target, tqdm(total=arguments.inputs, desc=f"{name:9}", unit=" inputs") as bar:
        gc.collect()
        gc.freeze()  # the driver collects before it weighs an input: not all that was imported, each time
        report = fuzz(target, arguments.inputs, arguments.seed, bar.update, arguments.seconds)
    save(report, arguments.out.parent / "fuzz" / name)
    return report


def _apart(name: str, arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """In a process of its own, so that neither memory nor a crash of one target is another's."""
    out = arguments.out.parent / f"fuzz-{name}.json"
    out.unlink(missing_ok=True)
    command = [sys.executable, "-m", "tests.fuzz", "--target", name, "--out", str(out)]
    numbers = ["--inputs", arguments.inputs, "--seconds", arguments.seconds, "--seed", arguments.seed]
    code = subprocess.run([*command, *map(str, numbers)]).returncode
    if not out.exists():
        return [{"target": name, "findings": {f"the process ended with {code}": ""}}]
    return list(json.loads(out.read_text()))


def _row(report: Report) -> dict[str, Any]:
    return {
        "target": report.name,
        "inputs": report.inputs,
        "verdicts": dict(report.verdicts.most_common()),
        "findings": {problem: data.hex()[:2000] for problem, data in report.findings.items()},
        "slowest": round(report.slowest, 3),
        "growth": round(report.growth, 1),
        "kept": report.kept,
        "seconds": round(report.seconds, 1),
    }


def _table(rows: list[dict[str, Any]]) -> str:
    lines = [
        "| target | inputs | verdicts | findings | slowest, s | memory, times the input | kept, MB | inputs a second |",
        "| --- | ---: | --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for row in rows:
        if "inputs" not in row:
            lines.append(f"| {row['target']} | | | {len(row['findings'])} | | | | |")
            continue
        verdicts = ", ".join(f"{verdict} {count}" for verdict, count in row["verdicts"].items())
        rate = row["inputs"] / max(row["seconds"], 0.001)
        lines.append(
            f"| {row['target']} | {row['inputs']} | {verdicts} | {len(row['findings'])} | {row['slowest']:.2f} | "
            f"{row['growth']:.0f} | {row['kept'] / 2**20:.1f} | {rate:.0f} |"
        )
    seconds = f"{Plain.seconds:g} s (config: {Configuration.seconds:g} s) for up to {MAX_BYTES // 1024} KiB"
    memory = f"of memory {GROWTH} times the input, small ones counted as {SMALL_INPUT // 1024} KiB"
    lines.append(f"\nBounds: {seconds}; {memory}.")
    lines += [f"{row['target']}: {problem}" for row in rows for problem in row["findings"]]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
