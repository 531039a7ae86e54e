"""Runs everything, or what --only names; what build/drill.json has already is not measured again."""

import argparse
import multiprocessing
import os
import sys
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import ExitStack
from pathlib import Path

from tqdm import tqdm

from benchmarks.drill.plan import Job, jobs
from benchmarks.drill.scenes import CALLERS, FOLDER, SCENES, digest
from benchmarks.drill.work import begin, done
from proxy.drill.expect import Expectations, broken
from proxy.drill.plot import plot
from proxy.drill.report import OFF, markdown
from proxy.drill.results import Measured, Results

AIMS = Path(__file__).with_name("aims.yaml")
JUDGED = 2
"""Benign callers that are judged, for each that was learned from: one in a thousand does not show in a thousand."""
WORKERS = 3
"""More than the processors of a small machine: silent answers are held back, which is waiting."""


def main() -> int:
    """Runs it; see `make drill`."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.drill", description=__doc__)
    parser.add_argument(
        "--only", nargs="+", default=[], metavar="PATTERN", help="square, 'square*20', 'oars_*', benign"
    )
    parser.add_argument("--scenes", nargs="+", choices=SCENES, default=list(SCENES))
    parser.add_argument(
        "--runs", type=int, default=10, help="of each evasion (default: 10); of other attacks 3 at most"
    )
    parser.add_argument(
        "--callers", type=int, default=CALLERS, help="benign callers, to learn from and to judge an hour"
    )
    parser.add_argument("--workers", type=int, default=WORKERS)
    parser.add_argument("--out", type=Path, default=Path("build/drill.json"))
    parser.add_argument("--plot", type=Path, help="the picture, PNG")
    arguments = parser.parse_args()
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"  # before anything loads TensorFlow; workers inherit it
    results = current(Results.read(arguments.out))
    failures: list[str] = []
    with ExitStack() as stack:
        spawn = multiprocessing.get_context("spawn")
        pool = stack.enter_context(ProcessPoolExecutor(arguments.workers, spawn, begin))
        for name in arguments.scenes:
            wanted = [job for job in jobs(name, arguments.runs, arguments.only) if job.key not in results.keys]
            if not wanted:
                continue
            with SCENES[name](FOLDER, print, arguments.callers) as scene:
                results = results.model_copy(update={"about": results.about | {name: scene.about}})
                futures: dict[Future[list[Measured]], Job] = {
                    pool.submit(done, job, scene, JUDGED * arguments.callers): job for job in wanted
                }
                results = _gathered(futures, results, arguments.out, failures)
    print(markdown(results))
    for sentence in broken(Expectations.read(AIMS), results):
        print(f"short of the aim: {sentence}")
    for failure in failures:
        print(failure, file=sys.stderr)
    if arguments.plot is not None:
        plot(results, arguments.plot)
    return 1 if failures else 0


def _gathered(futures: dict[Future[list[Measured]], Job], results: Results, out: Path, failures: list[str]) -> Results:
    """The results with all that comes, written as it comes; a job that fails is told in the end, and others go on."""
    with tqdm(total=len(futures), desc="drill", disable=None) as bar:
        left = set(futures)
        while left:
            ready, left = wait(left, return_when=FIRST_COMPLETED)
            for future in ready:
                job = futures[future]
                bar.set_postfix_str(job.title)
                bar.update()
                if (error := future.exception()) is not None:
                    failures.append(f"{job.title}, {job.mode}, run {job.run}: {error!r}")
                    continue
                results = results.with_records(future.result())
            results.write(out)
    return results


def current(results: Results) -> Results:
    """Without what other code measured: of the drill, or, under protection, of detectors and policy."""
    drill = digest("proxy/drill", "benchmarks/drill")
    detection = digest("detectors", "proxy/detection", "proxy/policy", "proxy/calibrate")
    if results.about.get("drill") != drill:
        results = Results()
    elif results.about.get("detection") != detection:
        results = Results(runs=tuple(run for run in results.runs if run.mode == OFF))
    return results.model_copy(update={"about": {**results.about, "drill": drill, "detection": detection}})


if __name__ == "__main__":
    sys.exit(main())
