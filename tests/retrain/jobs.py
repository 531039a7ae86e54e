"""Jobs over the digits, for the command: files in a folder, and the plainly trained model served beside them."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from tests.defenses.retraining.subjects import EPSILON, digits, save_served, trained


def write_job(folder: Path, **changes: Any) -> Path:
    """job.yaml, rows, the plainly trained model as start.keras, and as version 1 under `served`; paths are absolute.

    Args:
        folder: for all of it.
        changes: sections that are merged into the job's, and values that replace them.
    """
    data = digits()
    np.savez(folder / "train.npz", x=data.train, y=data.train_labels)
    np.savez(folder / "test.npz", x=data.test, y=data.test_labels)
    trained().save(folder / "start.keras")
    if not (folder / "served").exists():
        save_served(trained(), folder / "served" / "1")
    job: dict[str, Any] = {
        "name": "digits",
        "model": {"file": str(folder / "start.keras"), "gives": "logits"},
        "data": {
            "train": {"kind": "npz", "file": str(folder / "train.npz")},
            "test": {"kind": "npz", "file": str(folder / "test.npz")},
        },
        "method": {"kind": "fgsm_rs"},
        "epsilon": {"value": EPSILON},
        "training": {
            "epochs": 15,
            "batch": 100,
            "optimizer": {"learning_rate": 0.005},
            "check": {"every_epochs": 5, "rows": 100, "steps": 5},
        },
        "evaluate": {"rows": 120, "steps": 10, "restarts": 1, "apgd_steps": 10, "square_queries": 30},
        "gates": {"clean_loss": 0.1},
        "publish": {"base": str(folder / "served"), "textfile": str(folder / "retraining.prom")},
        "output": str(folder / "out"),
    }
    for key, value in changes.items():
        job[key] = {**job.get(key, {}), **value} if isinstance(value, dict) else value
    path = folder / "job.yaml"
    path.write_text(yaml.safe_dump(job))
    return path


def candidate_weights(folder: Path) -> list[Any]:
    """What a run of the job in a folder left behind."""
    import keras

    return list(keras.saving.load_model(folder / "out" / "candidate.keras").get_weights())


def environment() -> dict[str, str]:
    """For a child that imports what this process imports."""
    return {**os.environ, "PYTHONPATH": str(Path.cwd()), "TF_CPP_MIN_LOG_LEVEL": "3"}
