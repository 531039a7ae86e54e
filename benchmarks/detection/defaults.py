"""Writes detectors/defaults.json: a profile without what belongs to one deployment, its salt and its sample of rows.

    python -m benchmarks.detection.defaults

learns the profile that `make bench-detection` uses (Fashion-MNIST, the first 5,000 test images, 1,000 callers).
"""

import json
import tempfile
from dataclasses import replace
from pathlib import Path

from benchmarks.detection.__main__ import CALLERS, learned
from detectors.benign import Benign
from detectors.profile import DEFAULTS

NO_SALT = bytes(16)


def main() -> None:
    """Runs it."""
    with tempfile.TemporaryDirectory() as folder, learned(Path(folder), CALLERS) as (profile, _, _):
        shared = replace(profile, salt=NO_SALT, benign=Benign(), scaling={})
        Path("detectors", DEFAULTS).write_text(json.dumps(shared.to_json()) + "\n")


if __name__ == "__main__":
    main()
