"""Writes detectors/defaults.json: a profile without what belongs to one deployment, its salt and its sample of rows.

    python -m benchmarks.drill.defaults

takes the profile that `make drill` uses (Fashion-MNIST, the first 5,000 test images, 2,000 callers).
"""

import json
from dataclasses import replace
from pathlib import Path

from benchmarks.drill.scenes import FOLDER, fashion
from detectors.benign import Benign
from detectors.profile import DEFAULTS, Profile

NO_SALT = bytes(16)


def main() -> None:
    """Runs it."""
    with fashion(FOLDER, print) as scene:
        shared = replace(Profile.read(scene.profile), salt=NO_SALT, benign=Benign(), scaling={})
    Path("detectors", DEFAULTS).write_text(json.dumps(shared.to_json()) + "\n")


if __name__ == "__main__":
    main()
