"""The tables as one picture."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from proxy.drill.report import OFF, Group, groups
from proxy.drill.results import Results
from proxy.drill.wire import DrillError

COLOURS = {OFF: "#9a9a9a", "on": "#1f6fb4", "silent": "#1f6fb4", "refuse": "#d1711f", "simulated": "#5b8c3a"}


def plot(results: Results, path: Path) -> None:
    """Writes a PNG: what evasions and thefts get in each mode, and after how many rows they are found.

    Raises:
        DrillError: it cannot be written.
    """
    from matplotlib.figure import Figure

    measured = groups(results.runs)
    evasions = [group for group in measured if group.first.technique == "evasion"]
    thefts = [group for group in measured if group.first.technique == "extraction"]
    figure = Figure(figsize=(15, 2 + 0.13 * max(14, len(evasions))), layout="constrained")
    left, middle, right = figure.subplots(1, 3, width_ratios=(4, 4, 3))
    _dots(left, evasions, "success", "Evasion: success, %")
    _rows(middle, evasions)
    _dots(right, thefts, "fidelity", "Extraction: fidelity, %")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=110, format="png")
    except OSError as error:
        raise DrillError(f"--plot: {path} cannot be written: {error.strerror or error}") from None


def _titles(lines: Sequence[Group]) -> list[str]:
    several = len({group.first.data for group in lines}) > 1
    return [f"{group.title} ({group.first.data})" if several else group.title for group in lines]


def _places(lines: Sequence[Group]) -> tuple[list[str], list[tuple[float, Group]]]:
    """A line of the picture for each attack, and where in it each mode is drawn."""
    named = _titles(lines)
    titles = list(dict.fromkeys(named))
    modes = list(dict.fromkeys(group.first.mode for group in lines))
    step = 0.5 / max(1, len(modes))
    middle = (len(modes) - 1) / 2
    return titles, [
        (titles.index(name) + step * (modes.index(group.first.mode) - middle), group)
        for name, group in zip(named, lines, strict=True)
    ]


def _dots(axes: Any, lines: Sequence[Group], figure: str, title: str) -> None:
    titles, placed = _places([group for group in lines if group.figure(figure) is not None])
    for mode in dict.fromkeys(group.first.mode for _, group in placed):
        own = [(at, group.figure(figure)) for at, group in placed if group.first.mode == mode]
        shares = [100 * (value or 0.0) for _, value in own]
        axes.plot(shares, [at for at, _ in own], "o", markersize=5, color=COLOURS.get(mode), label=mode)
    axes.set(xlim=(-4, 104))
    _finish(axes, titles, title)


def _rows(axes: Any, lines: Sequence[Group]) -> None:
    titles, placed = _places([group for group in lines if group.watched])
    for at, group in placed:
        rows = [run.found_at for run in group.runs if run.found_at is not None]
        colour = COLOURS.get(group.first.mode)
        axes.plot(rows, [at] * len(rows), "|", color=colour, markersize=7)
        missed = len(group.runs) - len(rows)
        if missed:
            axes.annotate(f"{missed} missed", (550, at), fontsize="xx-small", va="center", color=colour)
    axes.axvline(50, color="#bbbbbb", linewidth=1)
    axes.set(xscale="log", xlim=(1, 1500))
    _finish(axes, titles, "Evasion: rows when found", legend=False)


def _finish(axes: Any, titles: Sequence[str], title: str, legend: bool = True) -> None:
    axes.set_title(title, fontsize="medium")
    axes.set_yticks(range(len(titles)), titles, fontsize="small")
    axes.set_ylim(len(titles) - 0.4, -0.6)
    axes.grid(axis="x", alpha=0.3)
    if legend and titles:
        axes.legend(
            fontsize="x-small",
            handletextpad=0,
            loc="upper center",
            bbox_to_anchor=(0.5, -0.03),
            ncols=3,
            frameon=False,
            columnspacing=0.8,
        )
