"""The comparison of methods as a table and as a picture."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

Result = Mapping[str, Any]
"""Of a method: `clean`, `pgd` and `ensemble` with value and interval, `certified`, `epochs`, `contradictions`."""


def markdown(title: str, pgd: str, results: Mapping[str, Result]) -> str:
    """A row a method, and below it what attacks contradict each other in.

    Args:
        title: what was trained, and for how long.
        pgd: how the attack of `Result.pgd` is called.
        results: by method.
    """
    lines = [
        title,
        "",
        f"| | clean | under {pgd} | and the ensemble | certified (validation) | epochs |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for name, result in results.items():
        shares = (f"{result[key]['value']:.1%}" for key in ("clean", "pgd", "ensemble"))
        certified = "" if result["certified"] is None else f"{result['certified']:.1%}"
        lines.append(f"| {name} | {' | '.join(shares)} | {certified} | {result['epochs']} |")
    lines += [f"\n{name}: {sign}" for name, result in results.items() for sign in result["contradictions"]]
    return "\n".join(lines)


def plot(title: str, results: Mapping[str, Result], path: Path) -> None:
    """Clean against robust accuracy, a point a method with its 95 % intervals, as PNG."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 5), layout="constrained")
    axes = figure.subplots()
    for number, (name, result) in enumerate(results.items()):
        clean, robust = ({key: 100 * value for key, value in result[of].items()} for of in ("clean", "ensemble"))
        x, y = clean["value"], robust["value"]
        reach = [[[at["value"] - at["low"]], [at["high"] - at["value"]]] for at in (clean, robust)]
        axes.errorbar(
            x, y, xerr=reach[0], yerr=reach[1], fmt="oD"[number // 10 % 2], markersize=5, linewidth=0.8, label=name
        )
    axes.set(title=title, xlabel="clean accuracy, %", ylabel="under PGD and the ensemble, %")
    axes.grid(alpha=0.3)
    figure.legend(loc="outside right upper", fontsize="small")
    figure.savefig(path, dpi=120)
