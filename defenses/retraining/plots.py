"""The plots of a report, as SVG."""

import io
from collections.abc import Sequence
from typing import Any

from defenses.retraining.evaluation import CLEAN, Evaluation
from defenses.retraining.intervals import share


def curve(candidate: Evaluation, served: Evaluation | None) -> str:
    """Accuracy under PGD by radius."""
    figure, axes = _axes()
    for each in (served, candidate):
        if each is not None:
            points = [(radius, share(right)) for radius, right in each.curve]
            radii = [0.0, *(radius for radius, _ in points)]
            shares = [share(each.right[CLEAN]), *(one for _, one in points)]
            axes.plot(radii, [one.value for one in shares], marker=".", label=each.name)
            axes.fill_between(radii, [one.low for one in shares], [one.high for one in shares], alpha=0.2)
    epsilon, last = candidate.plan.epsilon, candidate.curve[-1][0]
    axes.axvline(epsilon, color="#888888", linewidth=1, linestyle=":", label="judged at")
    axes.set_xscale("symlog", linthresh=epsilon)
    ticks = [0, epsilon / 2, epsilon, 2 * epsilon, *([last] if last > 3 * epsilon else [])]
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.set_xticks([], minor=True)
    axes.set(xlabel="radius", ylabel="accuracy", xlim=(0, last), ylim=(0, 1.02))
    axes.legend()
    return _svg(figure)


def training(history: Sequence[dict[str, Any]]) -> str:
    """Accuracy and loss by step, of the lines of metrics.jsonl."""
    figure, axes = _axes()
    for kind, key in (("epoch", "accuracy"), ("check", "clean"), ("check", "robust"), ("check", "certified")):
        points = [(each["step"], each[key]) for each in history if each.get("kind") == kind and key in each]
        if points:
            label = f"{key}, in training" if kind == "epoch" else f"{key}, validation"
            axes.plot(*zip(*points, strict=True), marker=".", label=label)
    losses = [(each["step"], each["loss"]) for each in history if "loss" in each]
    if losses:
        right = axes.twinx()
        right.plot(*zip(*losses, strict=True), color="#888888", linestyle="--")
        right.set_ylabel("loss (dashed)")
    axes.set(xlabel="step", ylabel="accuracy", ylim=(0, 1.02))
    axes.set_xlim(left=0)
    axes.legend()
    return _svg(figure)


def _axes() -> Any:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4), layout="constrained")  # by itself, it needs no display
    return figure, figure.subplots()


def _svg(figure: Any) -> str:
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    return buffer.getvalue()
