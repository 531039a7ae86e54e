"""The figures as tables and as a picture."""

from collections.abc import Callable, Iterable
from pathlib import Path
from textwrap import fill

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.drill.readme import written
from benchmarks.throughput import contenders, payloads
from benchmarks.throughput.results import HALF, Asked, Measured, Results, median, paired, spread

QUIET = 0.1
"""Share of the machine that others may have."""
_BUSY = (
    " Ratios and CPU time tell something then; calls a second and latencies are too low and too high. Run it again "
    "on a quiet machine before you rely on them."
)
BEGIN, END = "<!-- make bench -->", "<!-- end -->"
_COLOURS = {
    "direct": "#bbbbbb",
    "bare": "#777777",
    "envoy": "#d1711f",
    "envoy-limits": "#e5a86f",
    "off": "#a9cce8",
    "limits": "#6fa8dc",
    "default": "#1f6fb4",
    "everything": "#12426b",
}


def write_report(results: Results, path: Path | None) -> None:
    """Puts the tables between the marks of a Markdown file; prints them if none is named."""
    tables = markdown(results)
    if path is None:
        print(tables)
    else:
        path.write_text(written(path.read_text(), tables, BEGIN, END))


def markdown(results: Results) -> str:
    """All tables."""
    machine = results.machine
    others = [
        turn.others for asked in results.payloads.values() for each in asked.contenders.values() for turn in each.closed
    ]
    lines = [
        f"Measured on {machine['processors']}; {machine['system']}; {machine['versions']}. Medians of "
        f"{len(_any(results).closed)} turns, with the least and the largest. Meanwhile other processes had "
        f"{min(others):.0%} to {max(others):.0%} of the machine." + (_BUSY if max(others) > QUIET else ""),
        "",
        *_aims(results),
    ]
    for name, asked in results.payloads.items():
        lines += ["", f"### {payloads.LABELS[name]} ({_size(asked.request_bytes)})", "", *_throughput(asked)]
        if _any(results).open:
            lines += ["", *_latency(asked)]
    return "\n".join(lines) + "\n"


def _aims(results: Results) -> Iterable[str]:
    """What default protection should reach, and what it does, as far as it was measured."""
    yield "| default protection | aim | measured |"
    yield "|---|---|---|"
    for name, other, aim in (("image", "bare", 0.8), ("image", "envoy", 0.5), ("photo", "envoy", 1.0)):
        found = results.payloads[name].contenders if name in results.payloads else {}
        if "default" in found and other in found:
            ratio = paired(found["default"].closed, found[other].closed)
            what = f"{payloads.LABELS[name]}: calls/s, of {contenders.LABELS[other]}"
            yield f"| {what} | at least {aim:.1f} | {ratio:.2f} |"
    for name, asked in results.payloads.items():
        found = asked.contenders
        if name == "image" and "default" in found and "bare" in found and found["bare"].open:
            added = found["default"].latency(HALF, "0.5") - found["bare"].latency(HALF, "0.5")
            what = f"{payloads.LABELS[name]}: p50 at half load, above {contenders.LABELS['bare']}"
            yield f"| {what} | at most +0.30 ms | {added * 1e3:+.2f} ms |"


def _throughput(asked: Asked) -> Iterable[str]:
    yield "| | calls/s | of bare | of Envoy | CPU a call, µs | MB |"
    yield "|---|---|---|---|---|---|"
    for name, each in asked.contenders.items():
        low, high = spread(each.closed, lambda turn: turn.rate)
        shares = (
            f"{paired(each.closed, asked.contenders[other].closed):.2f}" if other in asked.contenders else "-"
            for other in ("bare", "envoy")
        )
        cost = "-" if name == "direct" else _with_spread(each, 1e6)
        memory = "-" if name == "direct" else f"{each.memory / 1e6:.0f}"
        rate = median(each.closed, lambda turn: turn.rate)
        figures = (f"{rate:.0f} ({low:.0f}-{high:.0f})", *shares, cost, memory)
        yield f"| {contenders.LABELS[name]} | {' | '.join(figures)} |"


def _with_spread(each: Measured, scale: float) -> str:
    low, high = spread(each.closed, lambda turn: turn.cpu_a_call)
    middle = median(each.closed, lambda turn: turn.cpu_a_call)
    return f"{middle * scale:.0f} ({low * scale:.0f}-{high * scale:.0f})"


def _latency(asked: Asked) -> Iterable[str]:
    yield f"Latency in ms at {asked.rates[str(HALF)]:.0f} calls a second, distinct rows of 100 callers:"
    yield ""
    yield "| | p50 | p90 | p99 | p99.9 | p50 above no proxy | p50 above bare | CPU a call, µs |"
    yield "|---|---|---|---|---|---|---|---|"
    for name, each in asked.contenders.items():
        figures = [f"{each.latency(HALF, quantile) * 1e3:.2f}" for quantile in ("0.5", "0.9", "0.99", "0.999")]
        for other in ("direct", "bare"):
            known = other in asked.contenders and other != name
            added = each.latency(HALF, "0.5") - asked.contenders[other].latency(HALF, "0.5") if known else 0.0
            figures.append(f"{added * 1e3:+.2f}" if known else "-")
        figures.append("-" if name == "direct" else f"{median(each.at(HALF), lambda turn: turn.cpu_a_call) * 1e6:.0f}")
        failed = sum(turn.failed for turn in each.at(HALF)) + each.acted
        told = f" ({failed} calls not answered in time, or held up by a verdict)" if failed else ""
        yield f"| {contenders.LABELS[name]}{told} | {' | '.join(figures)} |"


def _any(results: Results) -> Measured:
    return next(iter(next(iter(results.payloads.values())).contenders.values()))


def _size(count: int) -> str:
    return f"{count} bytes" if count < 1000 else f"{count / 1000:.1f} kB"


def plot(results: Results, path: Path) -> None:
    """Writes a PNG: throughput and CPU time of every contender and payload, and latency against the rate."""
    names = list(results.payloads)
    figure = Figure(figsize=(13, 4 + 3 * bool(_any(results).open)), layout="constrained")
    upper, *lower = figure.subfigures(2 if _any(results).open else 1, 1, squeeze=False).flatten()
    rates, costs = upper.subplots(1, 2)
    _bars(rates, results, lambda each: median(each.closed, lambda turn: turn.rate), "Calls a second, 32 in flight")
    _bars(costs, results, lambda each: median(each.closed, lambda turn: turn.cpu_a_call * 1e6), "CPU time a call, µs")
    upper.legend(
        *rates.get_legend_handles_labels(), loc="outside upper center", ncols=len(_COLOURS), fontsize="x-small"
    )
    for below in lower:
        below.suptitle("Latency in ms: p50 and, paler, p99", fontsize="medium")
        for axes, name in zip(below.subplots(1, len(names), squeeze=False).flatten(), names, strict=True):
            _latencies(axes, results.payloads[name], payloads.LABELS[name])
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110, format="png")


def _bars(axes: Axes, results: Results, figure: Callable[[Measured], float], title: str) -> None:
    names = list(results.payloads)
    running = list(next(iter(results.payloads.values())).contenders)
    width = 0.8 / len(running)
    for at, contender in enumerate(running):
        heights = [figure(results.payloads[name].contenders[contender]) for name in names]
        places = [place + (at - (len(running) - 1) / 2) * width for place in range(len(names))]
        axes.bar(places, heights, width, color=_COLOURS[contender], label=contenders.LABELS[contender])
    axes.set_xticks(range(len(names)), [fill(payloads.LABELS[name], 12) for name in names], fontsize="x-small")
    axes.set_yscale("log")
    axes.set_title(title, fontsize="medium")
    axes.grid(axis="y", alpha=0.3)


def _latencies(axes: Axes, asked: Asked, title: str) -> None:
    """Against the rate, or as bars if there is one rate alone."""
    loads, rates = [float(load) for load in asked.rates], list(asked.rates.values())
    for at, (contender, each) in enumerate(asked.contenders.items()):
        for quantile, alpha in (("0.99", 0.35), ("0.5", 1.0)):
            shown = [each.latency(load, quantile) * 1e3 for load in loads]
            if len(loads) == 1:
                axes.bar(at, shown, color=_COLOURS[contender], alpha=alpha)
            else:
                axes.plot(rates, shown, marker=".", color=_COLOURS[contender], alpha=alpha, linewidth=1.2)
    if len(loads) == 1:
        axes.set_xticks([])
    axes.set(yscale="log", xlabel=f"{rates[0]:.0f} calls a second" if len(loads) == 1 else "calls a second")
    axes.set_title(title, fontsize="small")
    axes.grid(alpha=0.3)
