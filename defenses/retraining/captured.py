"""Reviewed rows of callers on their way into the training rows: capped, and looked at for poison."""

from dataclasses import dataclass

import numpy as np

from defenses.retraining import data, poison
from defenses.retraining.data import DataError, Form, Rows
from defenses.retraining.poison import Finding
from defenses.retraining.sources import CapturedRows, NpzRows


@dataclass(frozen=True)
class Admitted:
    """Attributes: rows to train on, with those let in; added, how many; findings of the poison check."""

    rows: Rows
    added: int
    findings: tuple[Finding, ...]


def admit(source: CapturedRows, train: Rows, form: Form, seed: int) -> Admitted:
    """Adds reviewed rows to the training rows.

    Raises:
        DataError: the file is not of a reviewer's making, or poison was found and is not to be let in.
    """
    rows = data.read(NpzRows(kind="npz", file=source.file, divide_by=source.divide_by), form, "data.captured")
    callers = _callers(source, len(rows))
    findings = tuple(poison.findings(rows, callers, train, form.upper - form.lower))
    if findings and source.poisoned == "refuse":
        told = "; ".join(f"{finding.who}: {finding.text}" for finding in findings[:10])
        raise DataError(
            f"data.captured: {source.file} looks poisoned: {told}. Have these rows reviewed again, or leave the file "
            "out; `poisoned: report` lets them in all the same"
        )
    chosen = _capped(callers, source, len(train), seed)
    both = (np.concatenate([train.x, rows.x[chosen]]), np.concatenate([train.y, rows.y[chosen]]))
    return Admitted(Rows(*both, (*train.files, source.file)), len(chosen), findings)


def _callers(source: CapturedRows, count: int) -> np.ndarray[tuple[int], np.dtype[np.str_]]:
    with data.opened(source.file) as arrays:
        if "caller" not in arrays or arrays["caller"].shape != (count,):
            raise DataError(
                f"data.captured: {source.file} does not say who sent each row (an array caller, one a row); make it "
                "with tensorwall quarantine --labels"
            )
        return np.asarray(arrays["caller"], np.str_)


def _capped(
    callers: np.ndarray[tuple[int], np.dtype[np.str_]], source: CapturedRows, trusted: int, seed: int
) -> list[int]:
    """Indices of the rows that may come in, drawn by the seed."""
    most, of_caller, chosen = int(source.share * trusted), dict[str, int](), list[int]()
    for index in np.random.default_rng([seed, 2]).permutation(len(callers)):
        caller = str(callers[index])
        if len(chosen) < most and of_caller.get(caller, 0) < source.rows_per_caller:
            of_caller[caller] = of_caller.get(caller, 0) + 1
            chosen.append(int(index))
    return sorted(chosen)
