"""What a soak found, as a table and as a picture."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.soak.flat import GROWTH, Judged


def table(intervals: Sequence[dict[str, Any]], found: Sequence[Judged]) -> str:
    """Markdown."""
    ended: Counter[str] = Counter()
    for each in intervals:
        ended.update(each["ended"])
    total = sum(ended.values())
    shares = ", ".join(f"{code} {count} ({count / total:.1%})" for code, count in ended.most_common())
    lines = [
        f"{total} calls in {intervals[-1]['second']:.0f} s: {shares}.",
        "",
        "| figure | at the start | first third | middle | last | at the end | least | most | flat |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---|",
    ]
    for each in found:
        values = [interval[each.figure.key] for interval in intervals]
        start, end = each.ends
        shown = " | ".join(f"{value:.4g}" for value in (start, *each.thirds, end, min(values), max(values)))
        lines.append(f"| {each.figure.title} | {shown} | {'yes' if each.flat else 'NO'} |")
    slack = ", ".join(f"{each.figure.slack:g} ({each.figure.title})" for each in found)
    lines += [
        "",
        "Thirds are medians, start and end the first and the last interval. Flat: the last third is at most "
        f"{GROWTH:.0%} above the middle one, or by no more than {slack}.",
    ]
    return "\n".join(lines)


def plot(intervals: Sequence[dict[str, Any]], found: Sequence[Judged], path: Path) -> None:
    """Writes a PNG: each figure over time."""
    from matplotlib.figure import Figure

    rows = (len(found) + 1) // 2
    picture = Figure(figsize=(11, 2.2 * rows), layout="constrained")
    minutes = [each["second"] / 60 for each in intervals]
    for place, each in enumerate(found, 1):
        axes = picture.add_subplot(rows, 2, place)
        values = [interval[each.figure.key] for interval in intervals]
        axes.plot(minutes, values, color="#1f6fb4", linewidth=1)
        axes.set_title(each.figure.title, fontsize=10, loc="left")
        axes.set_ylim(0, 1.15 * max(*values, 1))
        axes.set_xlabel("minutes", fontsize=8)
        axes.grid(alpha=0.3)
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.savefig(path, dpi=110, format="png")
