"""The report of a run: one HTML file that loads nothing, with its figures as JSON and its plots beside it."""

import base64
import html
import io
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from defenses.retraining import plots
from defenses.retraining.evaluation import CLEAN, Evaluation
from defenses.retraining.gates import Decision
from defenses.retraining.intervals import difference, share
from defenses.retraining.robustness.subject import Rows

HTML, JSON, CURVE, TRAINING = "report.html", "report.json", "curve.svg", "training.svg"
EXAMPLES = 10
"""Adversarial images shown."""

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #1a1a1a }
table { border-collapse: collapse; margin: 1rem 0 } td, th { padding: .25rem .75rem; text-align: left;
border-bottom: 1px solid #ccc; font-variant-numeric: tabular-nums }
td:first-child, th:first-child { white-space: nowrap } td { vertical-align: top }
.no { color: #a40000; font-weight: 600 } .yes { color: #1a6b1a; font-weight: 600 }
figure { margin: 1rem 0; overflow-x: auto } svg { max-width: 100%; height: auto }
pre { overflow-x: auto; background: #f4f4f4; padding: 1rem }
"""


def write_report(
    folder: Path,
    card: dict[str, Any],
    candidate: Evaluation,
    served: Evaluation | None,
    decisions: Sequence[Decision],
    outcome: str,
    rows: Rows,
    history: Sequence[dict[str, Any]] = (),
) -> Path:
    """Writes report.html, report.json, curve.svg and training.svg to a folder.

    Args:
        folder: there already.
        card: of `card.card_of`; it is the JSON, with outcome and history added.
        candidate, served: evaluated on `rows`.
        decisions: of the gates.
        outcome: what became of the candidate, a sentence.
        rows: (n, ...) that were attacked.
        history: lines of the run's metrics.jsonl.

    Returns:
        The HTML file.
    """
    figures = {**card, "outcome": outcome, "history": list(history)}
    (folder / JSON).write_text(json.dumps(figures, indent=2) + "\n")
    curve, training = plots.curve(candidate, served), plots.training(history) if history else None
    (folder / CURVE).write_text(curve)
    if training is not None:
        (folder / TRAINING).write_text(training)
    path = folder / HTML
    path.write_text("\n".join(_page(card, candidate, served, decisions, outcome, rows, curve, training)) + "\n")
    return path


def _page(
    card: dict[str, Any],
    candidate: Evaluation,
    served: Evaluation | None,
    decisions: Sequence[Decision],
    outcome: str,
    rows: Rows,
    curve: str,
    training: str | None,
) -> Iterable[str]:
    title = html.escape(f"Adversarial retraining of {card['model']}")
    plan = candidate.plan
    yield f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title><style>{_STYLE}</style>'
    yield f"<h1>{title}</h1><p>{html.escape(card['made'])}</p><p><strong>{html.escape(outcome)}</strong></p>"
    yield "<h2>Gates</h2>" + _table(
        ["gate", "", "why"],
        [[html.escape(each.gate), _verdict(each.passed), html.escape(each.reason)] for each in decisions],
    )
    yield "<h2>Before and after</h2>"
    yield (
        f"<p>{len(candidate.labels):,} rows, {'L-inf' if plan.norm == 'inf' else 'L2'} radius {plan.epsilon:g}. "
        "Accuracy with 95&nbsp;% intervals (Wilson); the change with that of paired rows (Agresti and Min). "
        "The attacks of the ensemble run one after the other on what is left, so each counts all before it.</p>"
    )
    yield _accuracies(candidate, served)
    yield _others(candidate, served)
    yield "<h2>By radius</h2>" + _figure(curve, "Accuracy under PGD by radius")
    yield "<h2>By class</h2>" + _classes(candidate, served)
    if training is not None:
        yield "<h2>Training</h2>" + _figure(training, "Loss and accuracy by step")
    if rows.ndim == 4 and rows.shape[-1] in (1, 3):
        yield "<h2>Adversarial images</h2>" + _images(candidate, served, rows)
    yield from _callers(card["training"].get("captured"))
    yield "<h2>What was trained on what</h2>" + _trained(card["training"])
    manifest = html.escape(json.dumps(card["training"], indent=2))
    yield f"<details><summary>The manifest</summary><pre>{manifest}</pre></details>"
    yield "</html>"


def _accuracies(candidate: Evaluation, served: Evaluation | None) -> str:
    lines = []
    robust = {"robust, all together": candidate.robust}
    for name, right in {**candidate.right, **robust}.items():
        cells = [html.escape(name), str(share(right))]
        if served is not None:
            before = served.robust if name in robust else served.right.get(name)
            gap = None if before is None else difference(right, before)
            cells.insert(1, "-" if before is None else str(share(before)))
            cells.append(
                "-" if gap is None else f"{gap.value * 100:+.1f} ({gap.low * 100:+.1f} to {gap.high * 100:+.1f})"
            )
        lines.append(cells)
    return _table(["", "served", "candidate", "points"] if served is not None else ["", "candidate"], lines)


def _others(candidate: Evaluation, served: Evaluation | None) -> str:
    both = [each for each in (served, candidate) if each is not None]
    lines = [["expected calibration error", *(f"{each.calibration:.3f}" for each in both)]]
    lines.append(
        ["membership advantage", *("-" if each.membership is None else f"{each.membership:+.3f}" for each in both)]
    )
    lines.append(["captured attack rows", *("-" if each.captured is None else str(each.captured) for each in both)])
    signs = [html.escape(sign) for sign in candidate.contradictions]
    return _table(["", *(["served"] if served is not None else []), "candidate"], lines) + (
        "<ul>" + "".join(f"<li>{sign}</li>" for sign in signs) + "</ul>"
        if signs
        else "<p>The attacks agree with each other: no sign of masked gradients.</p>"
    )


def _classes(candidate: Evaluation, served: Evaluation | None) -> str:
    before = {} if served is None else served.per_class()
    lines = []
    for label, own in candidate.per_class().items():
        old = before.get(label)
        lines.append([str(label), str(own[CLEAN]), str(own["robust"]), *([str(old["robust"])] if old else [])])
    return _table(["class", "clean", "robust", *(["robust, served"] if before else [])], lines)


def _trained(manifest: dict[str, Any]) -> str:
    """The job in short, and the files with their hashes."""
    job = manifest["job"] if isinstance(manifest.get("job"), dict) else {}
    said = {
        key: ", ".join(f"{name} {value}" for name, value in job[key].items() if value is not None)
        for key in ("model", "method", "awp", "epsilon", "privacy")
        if job.get(key)
    }
    said |= {f"{part} rows": f"{rows['rows']:,}" for part, rows in manifest.get("rows", {}).items()}
    if "steps" in manifest:
        said["training"] = f"{manifest['steps']:,} steps in {manifest['seconds']:,.0f} s, ended by {manifest['ended']}"
    lines = [[html.escape(key), html.escape(text)] for key, text in said.items()]
    files = [[html.escape(file), f"<code>{digest}</code>"] for file, digest in manifest.get("files", {}).items()]
    return _table(["", ""], lines) + (_table(["file", "SHA-256"], files) if files else "")


def _callers(captured: dict[str, Any] | None) -> Iterable[str]:
    """Rows of callers that were trained on, and what the poison check found in them."""
    if captured is None:
        return
    yield f"<h2>Rows of callers</h2><p>{captured['rows']:,} reviewed rows of callers were trained on. "
    if captured["findings"]:
        lines = [[html.escape(each["who"]), html.escape(each["text"])] for each in captured["findings"]]
        yield '<span class="no">They look poisoned, and the job let them in:</span></p>' + _table(["", ""], lines)
    else:
        yield "The poison check found nothing in them.</p>"


def _figure(drawing: str, caption: str) -> str:
    return f'<figure role="img" aria-label="{html.escape(caption)}">{drawing[drawing.index("<svg") :]}</figure>'


def _images(candidate: Evaluation, served: Evaluation | None, rows: Rows) -> str:
    """Rows that the candidate loses, then ones that only the served model loses; the change is drawn magnified."""
    by = served if served is not None and len(np.flatnonzero(~candidate.robust)) == 0 else candidate
    changed = np.flatnonzero(by.right[CLEAN] & ~by.right[by.plan.pgd])[:EXAMPLES]
    lines = []
    for at in changed:
        before, after = rows[at], by.adversarial[at]
        low, high = float(rows.min()), float(rows.max())
        width = (
            max(2 * by.plan.epsilon, 1e-9)
            if by.plan.norm == "inf"
            else max(2 * float(np.abs(after - before).max()), 1e-9)
        )
        pictures = [(before - low) / (high - low), (after - before) / width + 0.5, (after - low) / (high - low)]
        lines.append([*(_png(picture) for picture in pictures), f"{by.labels[at]}", f"{by.predicted[at]}"])
    if not lines:
        return "<p>PGD changed no answer.</p>"
    return f"<p>Found by PGD on {html.escape(by.name)}.</p>" + _table(
        ["row", "change, magnified", "adversarial", "class", "answered"], lines
    )


def _png(picture: Any) -> str:
    from matplotlib.image import imsave

    buffer = io.BytesIO()
    values = picture.clip(0, 1)
    values = np.repeat(values, 3, axis=2) if values.shape[2] == 1 else values
    imsave(buffer, np.ascontiguousarray(values), format="png", metadata={"Software": ""})
    code = base64.b64encode(buffer.getvalue()).decode()
    return f'<img width="84" height="84" style="image-rendering:pixelated" alt="" src="data:image/png;base64,{code}">'


def _verdict(passed: bool) -> str:
    return '<span class="yes">passed</span>' if passed else '<span class="no">refused</span>'


def _table(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """Cells are HTML already."""
    header = "".join(f"<th>{cell}</th>" for cell in head)
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in line) + "</tr>" for line in lines)
    return f"<table><tr>{header}</tr>{body}</table>"
