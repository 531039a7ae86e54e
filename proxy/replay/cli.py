"""`tensorwall replay`: what a candidate configuration would have done to recorded traffic."""

import argparse
import asyncio
import json
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from proxy.config.load import ConfigError, load
from proxy.config.schema import Config

if TYPE_CHECKING:
    from proxy.capture.source import Source
    from proxy.replay.tally import Tally


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command line."""
    parser.add_argument("--config", required=True, type=Path, metavar="FILE", help="the candidate configuration")
    parser.add_argument(
        "--capture", required=True, nargs="+", metavar="PATH", help="captured files, folders of them, or URLs of either"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything to this file too")


def run(arguments: argparse.Namespace) -> int:
    """Runs the command; returns its exit code."""
    if find_spec("google_crc32c") is None or find_spec("tqdm") is None:
        print("replay needs the extra capture: pip install 'tensorwall[capture]'", file=sys.stderr)
        return 2
    from proxy.capture.source import Source, SourceError
    from proxy.replay.report import to_json, to_text
    from proxy.replay.tally import Tally

    if arguments.json is not None and (not arguments.json.parent.is_dir() or arguments.json.is_dir()):
        there = "it is a folder" if arguments.json.is_dir() else "its folder is not there"
        print(f"--json: {arguments.json} cannot be written: {there}", file=sys.stderr)
        return 2
    tally = Tally()
    began = time.monotonic()
    try:
        config = load(arguments.config)
        source = Source(arguments.capture)
        asyncio.run(_replay(config, source, tally))
    except (ConfigError, SourceError) as error:
        print(error, file=sys.stderr)
        return 2
    for problem in source.problems:
        print(problem, file=sys.stderr)
    if not tally.calls:
        foreign = f"; {source.foreign:,} records are not tensorwall's" if source.foreign else ""
        print(f"there is no call to replay in {len(source.files)} files{foreign}", file=sys.stderr)
        return 1
    report = to_json(tally, source.problems, source.foreign)
    print(to_text(report, time.monotonic() - began))
    if arguments.json is not None:
        try:
            arguments.json.write_text(json.dumps(report, indent=2) + "\n")
        except OSError as error:
            print(f"--json: {arguments.json} cannot be written: {error.strerror or error}", file=sys.stderr)
            return 2
    return 0


async def _replay(config: Config, source: "Source", tally: "Tally") -> None:
    from tqdm import tqdm  # an extra

    from proxy.replay.run import Replay

    replay = Replay(config, tally)
    total = sum(file.size for file in source.files)
    with tqdm(total=total, desc="replaying", unit="B", unit_scale=True, disable=None) as progress:
        source.progressed = progress.update
        for call in source:
            await replay.see(call)
    await replay.end()
