"""What was measured, for readers: Markdown tables, a line for each attack and number of accounts."""

import statistics
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from proxy.config.detection import STEPS
from proxy.drill.attacks.contract import Technique
from proxy.drill.results import Benign, Results, Run

UNKNOWN = "?"
NONE = "-"
OFF = "off"
SIMULATED = "simulated"


@dataclass(frozen=True)
class Group:
    """The runs of one attack, in one manner and mode.

    Attributes:
        runs: at least one.
    """

    runs: tuple[Run, ...]

    @property
    def first(self) -> Run:
        """Stands for what all have in common."""
        return self.runs[0]

    @property
    def title(self) -> str:
        """Of the attack and its manner."""
        accounts = f", {self.first.accounts} accounts" if self.first.accounts > 1 else ""
        return self.first.name + accounts

    @property
    def watched(self) -> bool:
        """Whether all that was found is known."""
        return all(run.watched for run in self.runs)

    @property
    def found(self) -> int:
        """Runs with a verdict on any step."""
        return sum(run.found_at is not None for run in self.runs)

    @property
    def acted(self) -> int:
        """Runs with a verdict beyond observe."""
        return sum(run.acted_at is not None for run in self.runs)

    def figure(self, name: str) -> float | None:
        """The mean over the runs that have it; of success over all seeds that were tried."""
        known = [run.figures for run in self.runs if name in run.figures]
        weights = [figures.get("tried", 1.0) if name == "success" else 1.0 for figures in known]
        return statistics.fmean([figures[name] for figures in known], weights) if known else None

    def median(self, of: Callable[[Run], int | float | None]) -> float | None:
        """Over the runs in which it is known."""
        known = [value for run in self.runs if (value := of(run)) is not None]
        return statistics.median(known) if known else None


def groups(runs: Iterable[Run]) -> list[Group]:
    """In the order in which their first runs were measured; an attack's modes together, off first."""
    found: dict[tuple[str, str, int], dict[str, list[Run]]] = {}
    for run in runs:
        found.setdefault((run.data, run.attack, run.accounts), {}).setdefault(run.mode, []).append(run)
    return [
        Group(tuple(sorted(modes[mode], key=lambda run: run.run)))
        for modes in found.values()
        for mode in sorted(modes, key=lambda mode: (mode != OFF, mode))
    ]


def markdown(results: Results) -> str:
    """All tables."""
    parts = []
    for data in dict.fromkeys(each.data for each in results.records):
        if data in results.about:
            parts.append(results.about[data])
        own = groups(run for run in results.runs if run.data == data)
        for technique in _COLUMNS:
            parts += _attacks(technique, [group for group in own if group.first.technique == technique])
        parts += _others(results, data)
    return "\n\n".join(parts) + "\n" if parts else "nothing was measured\n"


Cell = Callable[[Group], str]


def _attacks(technique: Technique, lines: Sequence[Group]) -> Iterator[str]:
    """One table for attacks that were run in the same modes, a line an attack; a cell has a figure for each mode."""
    attacks: dict[str, dict[str, Group]] = {}
    for group in lines:
        attacks.setdefault(f"{group.first.attack}*{group.first.accounts}", {})[group.first.mode] = group
    for modes in dict.fromkeys(tuple(each) for each in attacks.values()):
        protected = tuple(mode for mode in modes if mode != OFF)
        columns = [(title, cell, modes) for title, cell in _COLUMNS[technique].items() if modes != (SIMULATED,)]
        columns += [(title, cell, protected) for title, cell in _FOUND.items() if protected]
        header = [technique, *(_header(title, of) for title, _, of in columns)]
        body = [
            [next(iter(own.values())).title, *(_joined([cell(own[mode]) for mode in of]) for _, cell, of in columns)]
            for own in attacks.values()
            if tuple(own) == modes
        ]
        yield _table(header, body)


def _header(title: str, modes: Sequence[str]) -> str:
    return f"{title}: {' / '.join(modes)}" if len(modes) > 1 else title


def _joined(cells: Sequence[str]) -> str:
    """`1 / 2 of 10` for `1 of 10` and `2 of 10`, and once what all modes have in common."""
    if len(set(cells)) == 1:
        return cells[0]
    values, _, rests = zip(*(cell.partition(" ") for cell in cells), strict=True)
    return " / ".join(values) + f" {rests[0]}" if rests[0] and len(set(rests)) == 1 else " / ".join(cells)


def _succeeded(group: Group) -> str:
    known = [run.figures for run in group.runs if "success" in run.figures]
    tried = sum(figures.get("tried", 1.0) for figures in known)
    return f"{(group.figure('success') or 0.0) * tried:.0f} of {tried:.0f}" if known else NONE


def _change(group: Group) -> str:
    norm = {"2": "L2", "inf": "L-inf"}.get(group.first.norm or "", "")
    median = group.median(lambda run: run.figures.get("perturbation"))
    return NONE if median is None else f"{median:.2f} {norm}"


def _share(name: str) -> Cell:
    return lambda group: _percent(group.figure(name))


def _mean(name: str) -> Cell:
    return lambda group: _number(group.figure(name), ".2f")


def _times(count: Callable[[Group], int]) -> Cell:
    return lambda group: f"{count(group)} of {len(group.runs)}" if group.watched else UNKNOWN


def _rows(of: Callable[[Run], int | None]) -> Cell:
    return lambda group: _number(group.median(of), ".0f") if group.watched else UNKNOWN


def _detectors(group: Group) -> str:
    found = Counter(run.detector for run in group.runs if run.detector)
    return ", ".join(name for name, _ in found.most_common(2)) or (NONE if group.watched else UNKNOWN)


def _step(group: Group) -> str:
    steps = [step for step in STEPS if any(run.step == step for run in group.runs)]
    return steps[-1] if steps else NONE if group.watched else UNKNOWN


_COLUMNS: Mapping[Technique, Mapping[str, Cell]] = {
    "evasion": {"succeeded": _succeeded, "change": _change},
    "extraction": {
        "fidelity": _share("fidelity"),
        "accuracy": _share("accuracy"),
        "rows answered": lambda group: _number(group.median(lambda run: run.rows), ",.0f"),
    },
    "membership": {"advantage": _share("advantage"), "AUC": _mean("auc"), "TPR at 1 % FPR": _share("tpr_at_1_percent")},
    "inversion": {"confidence": _share("true_confidence"), "likeness": _mean("likeness")},
}
_FOUND: Mapping[str, Cell] = {
    "found": _times(lambda group: group.found),
    "after rows": _rows(lambda run: run.found_at),
    "acted on": _times(lambda group: group.acted),
    "then after rows": _rows(lambda run: run.acted_at),
    "of spent": _rows(lambda run: run.acted_spent),
    "by": _detectors,
    "step": _step,
}


def _others(results: Results, data: str) -> list[str]:
    parts = []
    benign = [each for each in results.benign if each.data == data]
    if benign:
        parts.append(_benign(benign))
    telling = [each for each in results.telling if each.data == data]
    if telling:
        lines = [
            [
                each.mode,
                str(each.probes),
                _percent(each.accuracy),
                f"{each.bits:.2f}",
                *(_percent(each.by.get(sign)) for sign in ("refusals", "answers", "timing")),
            ]
            for each in telling
        ]
        titles = ["what a flagged row tells", "probes", "told apart", "bits", "by refusals", "by answers", "by timing"]
        parts.append(_table(titles, lines))
    parts += [
        f"A customer on the immunity list: {each.rows:,} rows, {each.changed:,} of them answered otherwise than by the "
        f"model, {each.refused:,} refused; reported up to the step: {each.reported or 'none'}."
        for each in results.immune
        if each.data == data
    ]
    return parts


_BENIGN = ("callers", "rows", "callers_found", "callers_held")


def _benign(lines: Sequence[Benign]) -> str:
    rows = [[each.kind, each.how, *(f"{getattr(each, name):,}" for name in _BENIGN), *_acted([each])] for each in lines]
    for how in dict.fromkeys(each.how for each in lines):
        own = [each for each in lines if each.how == how]
        sums = [sum(getattr(each, name) for each in own) for name in _BENIGN]
        rows.append(["**all**", how, *(f"{n:,}" for n in sums), *_acted(own)])
    return _table(
        [
            "benign callers",
            "time",
            "callers",
            "rows",
            "observed",
            "with an acting verdict",
            "acted on",
            "rows acted on",
        ],
        rows,
    )


def _acted(lines: Sequence[Benign]) -> list[str]:
    cells = []
    for acted, of in (("callers_acted", "callers"), ("rows_acted", "rows")):
        number, total = (sum(getattr(each, name) for each in lines) for name in (acted, of))
        cells.append(f"{number:,} ({number / max(1, total):.2%})")
    return cells


def _table(header: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    rule = ["---", "---", *["---:"] * (len(header) - 2)]
    return "\n".join("| " + " | ".join(line) + " |" for line in (header, rule, *lines))


def _percent(value: float | None) -> str:
    return NONE if value is None else f"{100 * value:.1f}"


def _number(value: float | None, form: str) -> str:
    return NONE if value is None else format(value, form)
