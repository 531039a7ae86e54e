"""What a killed run goes on from: one file, replaced in one step, so that it is always whole."""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

Arrays = dict[str, NDArray[Any]]


class CheckpointError(Exception):
    """The file is not one of ours; the message says what to do."""


@dataclass
class Progress:
    """Where a run is, beside its variables.

    Attributes:
        step: steps done.
        seconds: spent, over all resumptions.
        loss, right, rows: sums over the steps of the present epoch: of the loss of rows, of rows got right on the
            attacked inputs, of rows.
        best_robust: the best check so far, or -1.
        best_step: its step.
        unimproved: checks since.
        guarded: whether catastrophic overfitting was found, and several steps take the place of the single one.
        ended: why the run ended, or an empty text.
        key: the secret of the sampling and the noise, where there is privacy; a checkpoint is for its owner only.
    """

    step: int = 0
    seconds: float = 0.0
    loss: float = 0.0
    right: float = 0.0
    rows: int = 0
    best_robust: float = -1.0
    best_step: int = 0
    unimproved: int = 0
    guarded: bool = False
    ended: str = ""
    key: str = "00" * 16
    best: Arrays = field(default_factory=dict)


def write(path: Path, digest: str, progress: Progress, variables: Mapping[str, NDArray[Any]]) -> None:
    """Replaces the checkpoint. `digest` is the job's, whose variables these are."""
    values = {name: value for name, value in asdict(progress).items() if name != "best"}
    head = np.array(json.dumps({"digest": digest, **values}))
    best = {f"best/{name}": array for name, array in progress.best.items()}
    partial = path.with_name(f".{path.name}.unfinished")
    partial.touch(mode=0o600)
    with partial.open("wb") as file:
        np.savez(file, head=head, **{f"now/{name}": array for name, array in variables.items()}, **best)  # type: ignore[arg-type]
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def read(path: Path, digest: str) -> tuple[Progress, Arrays] | None:
    """Progress and variables; None if there is no checkpoint, or it is another job's.

    Raises:
        CheckpointError: the file is damaged.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            head = json.loads(str(file["head"]))
            if head.pop("digest") != digest:
                return None
            parts: dict[str, Arrays] = {"now": {}, "best": {}}
            for name in file.files:
                if name != "head":
                    part, _, rest = name.partition("/")
                    parts[part][rest] = file[name]
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, EOFError, BadZipFile):
        raise CheckpointError(f"{path} is damaged; remove it to start anew") from None
    return Progress(**head, best=parts["best"]), parts["now"]
