"""manifest.json: what a run was made from, so that it can be repeated and questioned."""

import hashlib
import importlib.util
import json
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from defenses.retraining.data import Datasets, Rows
from defenses.retraining.job import Job
from defenses.retraining.model import Classifier


def write(path: Path, job: Job, rows: Datasets, results: dict[str, Any]) -> None:
    """Writes the manifest: effective job, SHA-256 of every input file and of the rows, libraries, results."""
    files = sorted({*_model_files(job), *(file for part in _parts(rows).values() for file in part.files)})
    content = {
        "job": job.model_dump(mode="json"),
        "digest": job.digest,
        "files": {str(file): sha256(file) for file in files},
        "rows": {name: _summary(part) for name, part in _parts(rows).items()},
        "libraries": {name: version(name) for name in ("tensorflow", "keras", "numpy")},
        **results,
    }
    partial = path.with_name(f".{path.name}.unfinished")
    partial.write_text(json.dumps(content, indent=2) + "\n")
    partial.replace(path)


def digest(job: Job, rows: Datasets) -> str:
    """SHA-256, in hexadecimal, of what decides a run's weights: the job's part, and what its files hold now."""
    found = hashlib.sha256(job.digest.encode())
    for file in (job.model.file, job.model.weights):
        if file is not None and file.is_file():
            found.update(sha256(file).encode())
    for part in (rows.train, rows.validation):
        found.update(np.ascontiguousarray(part.x).tobytes())
        found.update(np.ascontiguousarray(part.y).tobytes())
    return found.hexdigest()


def sha256(file: Path) -> str:
    """Of a file's bytes, in hexadecimal."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def weights_sha256(classifier: Classifier) -> str:
    """Of a model's weights, in hexadecimal: files of the same model differ by the time at which they were written."""
    digest = hashlib.sha256()
    for weight in classifier.whole.get_weights():
        digest.update(np.ascontiguousarray(weight).tobytes())
    return digest.hexdigest()


def _parts(rows: Datasets) -> dict[str, Rows]:
    parts = {"train": rows.train, "validation": rows.validation, "test": rows.test, "captured": rows.captured}
    return {name: part for name, part in parts.items() if part is not None}


def _summary(rows: Rows) -> dict[str, Any]:
    digest = hashlib.sha256(np.ascontiguousarray(rows.x).tobytes())
    digest.update(rows.y.tobytes())
    classes, counts = np.unique(rows.y, return_counts=True)
    per_class = {str(name): int(count) for name, count in zip(classes, counts, strict=True)}
    return {"rows": len(rows), "sha256": digest.hexdigest(), "per_class": per_class}


def _model_files(job: Job) -> Iterator[Path]:
    """The model's, and the modules of what is imported by path."""
    yield from (file for file in (job.model.file, job.model.weights) if file is not None)
    sources = (job.data.train, job.data.validation, job.data.test, job.evaluate.captured)
    for path in (job.model.factory, *(getattr(source, "path", None) for source in sources)):
        spec = None if path is None else importlib.util.find_spec(path.partition(":")[0])
        if spec is not None and spec.origin is not None and Path(spec.origin).is_file():
            yield Path(spec.origin)
