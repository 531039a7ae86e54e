"""Rows of captured calls, set apart for a reviewer: capped per caller, each once, without any label.

What the attacked model answered is left out on purpose: a label comes from a reviewer or not at all.
"""

import csv
import hashlib
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from numpy.typing import NDArray

from proxy.capture.record import RecordedCall
from proxy.capture.source import Source
from proxy.codec import claimed_bytes, decode
from proxy.tensors import UndecodableTensorError, to_array

MAX_ROWS = 100_000
"""Rows that are held at once, over all callers; later rows of new callers are counted and left out."""
MAX_CLAIM = 64 * 2**20
"""Bytes of one input; a call that claims more is not read."""


class LabelsError(Exception):
    """The file of labels cannot be used; the message says where and why."""


@dataclass
class _Held:
    """One caller's sample. `seen` counts its distinct rows."""

    seen: int = 0
    rows: list[tuple[str, float, NDArray[np.float32]]] = field(default_factory=list)


@dataclass
class Quarantine:
    """A sample of each caller's rows, the same for the same files and seed.

    Attributes:
        model: whose calls are taken.
        input: of PredictRequest; None for calls with a single one.
        per_caller: rows of one caller.
        seed: of the sample, so that a caller cannot choose which of its rows are taken.
        left_out: number of rows by reason: `cap`, `repeated`, `room`; and of calls: `unread`.
    """

    model: str
    input: str | None
    per_caller: int
    seed: int
    left_out: dict[str, int] = field(default_factory=dict)
    _held: dict[str, _Held] = field(default_factory=dict)
    _known: set[bytes] = field(default_factory=set)
    _count: int = 0

    def __post_init__(self) -> None:
        self._random = Random(self.seed)  # noqa: S311  # a sample, no secret

    def fill(self, source: Source) -> None:
        """Takes in all calls of the model."""
        for call in source:
            if call.model == self.model:
                for row in self._rows_of(call):
                    self._offer(call, row)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """x float32 (N, ...), and of each row: caller, time in seconds since 1970, sha256 in hexadecimal.

        Rows of another shape than most have are left out, counted as `shape`.
        """
        rows = [(caller, *row) for caller, held in sorted(self._held.items()) for row in held.rows]
        shapes = [x.shape for *_, x in rows]
        usual = max(set(shapes), key=shapes.count, default=(0,))
        kept = [row for row in rows if row[3].shape == usual]
        self._left_out("shape", len(rows) - len(kept))
        return {
            "x": np.array([x for *_, x in kept], np.float32).reshape(len(kept), *usual),
            "caller": np.array([caller for caller, *_ in kept], np.str_),
            "sha256": np.array([digest for _, digest, *_ in kept], np.str_),
            "time": np.array([time for _, _, time, _ in kept], np.float64),
        }

    def _rows_of(self, call: RecordedCall) -> Iterator[NDArray[np.float32]]:
        decoded = decode(call.path, call.body)
        inputs = getattr(decoded.message, "inputs", {}) if decoded is not None else {}
        name = self.input if self.input is not None else next(iter(inputs), "") if len(inputs) == 1 else ""
        if name not in inputs or claimed_bytes(inputs[name]) > MAX_CLAIM:
            self._left_out("unread")
            return
        try:
            values = to_array(inputs[name])
            rows = values.astype(np.float32)
        except (UndecodableTensorError, ValueError, TypeError):
            self._left_out("unread")
            return
        if rows.ndim < 2 or not np.isfinite(rows).all():
            self._left_out("unread")
            return
        yield from rows

    def _offer(self, call: RecordedCall, row: NDArray[np.float32]) -> None:
        """Reservoir sampling of each caller's distinct rows (Vitter 1985, algorithm R)."""
        digest = hashlib.sha256(row.tobytes())
        if digest.digest() in self._known:
            self._left_out("repeated")
            return
        held = self._held.get(call.caller.id)
        if self._count >= MAX_ROWS and (held is None or len(held.rows) < self.per_caller):
            self._left_out("room")
            return
        held = self._held.setdefault(call.caller.id, _Held())
        held.seen += 1
        taken = (digest.hexdigest(), call.time, row.copy())
        if len(held.rows) < self.per_caller:
            held.rows.append(taken)
            self._count += 1
            self._known.add(digest.digest())
            return
        self._left_out("cap")
        place = self._random.randrange(held.seen)
        if place < self.per_caller:
            self._known.discard(bytes.fromhex(held.rows[place][0]))
            self._known.add(digest.digest())
            held.rows[place] = taken

    def _left_out(self, reason: str, count: int = 1) -> None:
        if count:
            self.left_out[reason] = self.left_out.get(reason, 0) + count


def labels(path: Path) -> dict[str, int]:
    """A reviewer's labels: a CSV file with the columns sha256 and label, a whole number.

    Raises:
        LabelsError: it cannot be read, a line is not of this form, or a row has two labels.
    """
    found: dict[str, int] = {}
    try:
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file)
            if reader.fieldnames is None or not {"sha256", "label"} <= set(reader.fieldnames):
                raise LabelsError(f"{path}:1: the columns sha256 and label are expected, not {reader.fieldnames}")
            for line in reader:
                digest, label = (line["sha256"] or "").strip(), (line["label"] or "").strip()
                if not label.isdecimal():
                    raise LabelsError(f"{path}:{reader.line_num}: {label!r:.40} is no class; write its number")
                if found.setdefault(digest, int(label)) != int(label):
                    raise LabelsError(f"{path}:{reader.line_num}: {digest:.64} has two labels; keep one")
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise LabelsError(
            f"{path}: cannot be read: {error}; name a CSV file with the columns sha256 and label"
        ) from None
    return found


def reviewed(command: Sequence[str], arrays: Mapping[str, NDArray[Any]]) -> dict[str, int]:
    """The labels that a reviewer's command prints, as `labels` reads them.

    Args:
        command: its words; the path of an .npz file of the arrays is added. It has as long as it takes.
        arrays: of `Quarantine.arrays`.

    Raises:
        LabelsError: it cannot be run, fails, or prints something else.
    """
    with tempfile.TemporaryDirectory(prefix="tensorwall-quarantine-") as made:  # for the owner only
        rows, printed = Path(made) / "rows.npz", Path(made) / "labels.csv"
        np.savez(rows, **arrays)  # type: ignore[arg-type]  # its stub takes names for its own arguments
        try:
            with printed.open("wb") as out:
                ended = subprocess.run([*command, str(rows)], stdout=out, check=False)  # noqa: S603  # the operator's
        except OSError as error:
            raise LabelsError(f"{command[0]} cannot be run: {error.strerror}") from None
        if ended.returncode:
            raise LabelsError(f"{command[0]} ended with exit code {ended.returncode}; nothing is labelled")
        try:
            return labels(printed)
        except LabelsError as error:
            raise LabelsError(f"{command[0]} printed no labels: {str(error).removeprefix(str(printed))[1:]}") from None


def labelled(arrays: Mapping[str, NDArray[Any]], by_digest: Mapping[str, int]) -> dict[str, NDArray[Any]]:
    """The rows that have a label, with it as `y`."""
    chosen = np.array([digest in by_digest for digest in arrays["sha256"]], bool)
    kept = {name: values[chosen] for name, values in arrays.items()}
    return kept | {"y": np.array([by_digest[str(digest)] for digest in kept["sha256"]], np.int64)}
