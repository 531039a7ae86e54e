"""The results for readers: Markdown tables with the failures marked, and a picture.

    python -m benchmarks.defenses.report build/bench-defenses.json

prints the Markdown of an earlier run.
"""

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.defenses.results import Advantage, Evasion, Queried, Results, Secrets, Share

FAILS = " ✗"
GUESSING = 0.1
"""What is right by chance, with ten classes."""
ATTACKS = {
    "fgsm": "FGSM",
    "pgd": "PGD",
    "other": "surrogate PGD",
    "square": "Square",
    "hop": "HopSkipJump",
    "adaptive": "adaptive",
}


def markdown(results: Results) -> str:
    """All tables, as they go into the README."""
    parts = [_evasion_table(results), _evasion_notes(results), _failures(results), _secrets_table(results)]
    return "\n\n".join([*parts, _secrets_notes(results)]) + "\n"


def accuracy(evasion: Evasion, attack: str) -> Share:
    """What is left under one of `ATTACKS`."""
    found: Share | Queried = getattr(evasion, attack)
    return found.accuracy if isinstance(found, Queried) else found


def fails(evasion: Evasion, none: Evasion, attack: str) -> bool:
    """Whether a defense leaves no more than having none, or than guessing, within the 95 % intervals."""
    return accuracy(evasion, attack).low <= max(accuracy(none, attack).high, GUESSING)


def costs(evasion: Evasion, none: Evasion) -> bool:
    """Whether it makes the model worse on clean images, beyond the intervals."""
    return evasion.clean.high < none.clean.low


def _evasion_table(results: Results) -> str:
    none = results.evasion[0]
    lines = []
    for evasion in results.evasion:
        undefended = evasion is none
        cells = [_percent(evasion.clean) + _mark(not undefended and costs(evasion, none))]
        cells += [
            _percent(accuracy(evasion, attack)) + _mark(not undefended and fails(evasion, none, attack))
            for attack in ATTACKS
        ]
        added = ["", ""] if undefended else [f"{1e3 * timed.added_a_row:.2f}" for timed in (evasion.one, evasion.many)]
        lines.append([evasion.defense, *cells, *added])
    return _table(["defense", "clean", *ATTACKS.values(), "ms a row, 1", "ms a row, 32"], lines)


def _evasion_notes(results: Results) -> str:
    scale, none = results.scale, results.evasion[0]
    return (
        f"Accuracy in % on {results.data} under attacks of L-inf {results.epsilon:g}; {FAILS.strip()}: no better than "
        f"without a defense, or than guessing, within 95 % intervals (clean: worse than without). FGSM and PGD "
        f"({scale['steps']} steps) know the model but not the defense; surrogate PGD knows neither. Square "
        f"(up to {scale['square_steps']} steps) and HopSkipJump (about {none.hop.queries:,.0f} queries an image) ask "
        f"through the proxy. The adaptive attacker knows model and defense (BPDA, EOT over {scale['draws']} draws). "
        f"Rows: {none.clean.rows}; Square {none.square.accuracy.rows}; HopSkipJump {none.hop.accuracy.rows}. Time: the "
        "median added to a call of 1 and of 32 rows, divided by its rows."
    )


def _failures(results: Results) -> str:
    """In words: what passes which defense."""
    none = results.evasion[0]
    lines = ["Where they fail:", ""]
    for evasion in results.evasion[1:]:
        passed = [title for attack, title in ATTACKS.items() if fails(evasion, none, attack)]
        told = f"passed by {_listed(passed)}" if passed else "passed by none of these"
        if costs(evasion, none):
            told += f"; costs {100 * (none.clean.value - evasion.clean.value):.1f} points of clean accuracy"
        lines.append(f"- {evasion.defense}: {told}")
    return "\n".join(lines)


def _secrets_table(results: Results) -> str:
    none = results.secrets[0]
    titles = [
        f"{title}, {found.model}" for found in none.membership for title in ("confidence threshold", "shadow model")
    ]
    return _table(
        ["answers", *titles, "surrogate fidelity", "surrogate accuracy"],
        [_secrets_line(secrets, none) for secrets in results.secrets],
    )


def _secrets_line(secrets: Secrets, none: Secrets) -> list[str]:
    undefended = secrets is none
    pairs = [
        (getattr(found, attack), getattr(base, attack))
        for found, base in zip(secrets.membership, none.membership, strict=True)
        for attack in ("threshold", "shadow")
    ]
    cells = [_advantage(found) + _mark(not undefended and found.high >= base.low) for found, base in pairs]
    fidelity = _percent(secrets.fidelity) + _mark(not undefended and secrets.fidelity.high >= none.fidelity.low)
    return [secrets.defense, *cells, fidelity, f"{100 * secrets.surrogate_accuracy:.1f}"]


def _secrets_notes(results: Results) -> str:
    models = "; ".join(
        f"{found.model} is {found.train_accuracy:.1%} right on members and {found.test_accuracy:.1%} on others"
        for found in results.secrets[0].membership
    )
    return (
        "Membership: advantage (true minus false positive rate, 0 for guessing) in points, with the area under the "
        f"ROC curve; {models}. Surrogate: Knockoff Nets, {results.scale['knockoff_rows']:,} rows of handwritten "
        f"digits; agreement with the served model in % on {results.scale['fidelity_rows']:,} test rows. The attacker "
        f"reads whichever output tells more. {FAILS.strip()}: no less than without a defense, within 95 % intervals."
    )


def plot(results: Results, path: Path) -> None:
    """A picture of both tables, as PNG."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(16, 8), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(3, 2))
    shown = ("clean", "pgd", "square", "hop", "adaptive")
    names = {"clean": "clean", **ATTACKS}
    for number, attack in enumerate(shown):
        shares = [accuracy(evasion, attack) for evasion in results.evasion]
        _points(left, shares, offset=(number - 2) * 0.15, label=names[attack])
    left.set_yticks(range(len(results.evasion)), [evasion.defense for evasion in results.evasion])
    left.set(title=f"Accuracy under attack, L-inf {results.epsilon:g}", xlabel="%", xlim=(-2, 102))
    _points(right, [secrets.fidelity for secrets in results.secrets], offset=0.2, label="surrogate fidelity")
    for number, found in enumerate(results.secrets[0].membership):
        for attack in ("threshold", "shadow"):
            advantages = [getattr(secrets.membership[number], attack) for secrets in results.secrets]
            _points(right, advantages, offset=-0.2 * number, label=f"membership by {attack}, {found.model}")
    right.set_yticks(range(len(results.secrets)), [secrets.defense for secrets in results.secrets])
    right.set(title="What the answers tell", xlabel="fidelity in %, advantage in points")
    for axes, columns in ((left, 5), (right, 2)):
        axes.invert_yaxis()
        axes.grid(axis="x", alpha=0.3)
        axes.legend(loc="upper center", bbox_to_anchor=(0.3, -0.08), ncols=columns, fontsize="small")
    figure.savefig(path, dpi=120)


def _points(axes: Any, values: Sequence[Share | Advantage], offset: float, label: str) -> None:
    at = [row + offset for row in range(len(values))]
    reach = [[100 * (one.value - one.low) for one in values], [100 * (one.high - one.value) for one in values]]
    axes.errorbar([100 * one.value for one in values], at, xerr=reach, fmt="o", markersize=4, linewidth=1, label=label)


def _table(header: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    rule = ["---", *["---:"] * (len(header) - 1)]
    return "\n".join("| " + " | ".join(line) + " |" for line in (header, rule, *lines))


def _percent(share: Share) -> str:
    return f"{100 * share.value:.1f}"


def _advantage(advantage: Advantage) -> str:
    return f"{100 * advantage.value:.1f} ({advantage.auc:.2f})"


def _mark(failed: bool) -> str:
    return FAILS if failed else ""


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


if __name__ == "__main__":
    print(markdown(Results.model_validate_json(Path(sys.argv[1]).read_text())))
