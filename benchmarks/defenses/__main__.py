"""Attacks every defense behind a running proxy, and writes down what is left.

    python -m benchmarks.defenses

Prints the tables as Markdown; writes bench-defenses.json and bench-defenses.png into build/. The images are
Fashion-MNIST where it can be had (apt-get install dataset-fashion-mnist). About half an hour on two cores.
"""

import argparse
import logging
import os
import sys
import tempfile
import warnings
from pathlib import Path

from benchmarks.defenses.scale import SCALES
from proxy.demo.children import interruptible
from proxy.demo.data import CHOICES, load
from proxy.demo.voice import quiet


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.defenses", description="Attacks the defenses.")
    parser.add_argument("--scale", choices=SCALES, default="full", help="how much (default: %(default)s)")
    parser.add_argument("--data", choices=CHOICES, default="auto", help="the images (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=Path("build"), help="for the results (default: %(default)s)")
    arguments = parser.parse_args()
    dataset = load(arguments.data, lambda line: print(line, file=sys.stderr))
    arguments.out.mkdir(parents=True, exist_ok=True)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # TensorFlow's remarks on the machine
    with interruptible(), tempfile.TemporaryDirectory(prefix="tensorwall-bench-") as name:
        folder = Path(name)
        with quiet(folder / "imports.log"), warnings.catch_warnings(action="ignore"):
            from benchmarks.defenses import report, run
        logging.getLogger("tensorflow").setLevel(logging.ERROR)  # its advice on speed
        results = run.run(SCALES[arguments.scale], dataset, arguments.out / "demo", folder)
    (arguments.out / "bench-defenses.json").write_text(results.model_dump_json(indent=1) + "\n")
    report.plot(results, arguments.out / "bench-defenses.png")
    print(report.markdown(results))


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        print("interrupted; nothing is left running", file=sys.stderr)
        sys.exit(1)
