// Lines from left to right: the drawing stretches, its words do not.

import { h } from "../render.js";

const WIDTH = 300;
const HEIGHT = 100;

/**
 * A figure with one or more lines.
 *
 * `lines` are [{ label, kind, values }], at even steps and null for a gap; `kind` is a class of the style sheet. `show`
 * writes a value. `said` is what the picture shows, in words; `from` and `to` name the ends of it; `top` is the least
 * height of the scale.
 */
export function lineChart({ title, said, lines, show, from, to, top = 0, tall = false }) {
  const known = lines.flatMap((line) => line.values).filter(Number.isFinite);
  const highest = nice(Math.max(top, ...known));
  return h(
    "figure",
    { class: "chart" },
    h(
      "figcaption",
      null,
      h("span", { class: "chart-title" }, title),
      lines.map((line) =>
        h(
          "span",
          { class: "chart-now" },
          lines.length > 1 && h("span", { class: `key ${line.kind}` }, line.label),
          h("strong", null, show(last(line.values))),
        ),
      ),
    ),
    said && h("p", { class: "said" }, said),
    h(
      "div",
      { class: tall ? "plot tall" : "plot" },
      h(
        "svg",
        {
          viewBox: `0 0 ${WIDTH} ${HEIGHT}`,
          preserveAspectRatio: "none",
          role: "img",
          "aria-label": `${title}, from ${from} to ${to}. ${lines.map((line) => told(line, show)).join(" ")}`,
        },
        h("path", { class: "grid", d: `M0 0.5H${WIDTH}M0 ${HEIGHT / 2}H${WIDTH}` }),
        lines.map((line, index) => [
          index === 0 && h("path", { class: `area ${line.kind}`, d: area(line.values, highest) }),
          h("path", { class: `line ${line.kind}`, d: path(line.values, highest) }),
        ]),
      ),
      h("span", { class: "y", "aria-hidden": "true" }, known.length ? show(highest) : "no data yet"),
    ),
    h("div", { class: "x", "aria-hidden": "true" }, h("span", null, from), h("span", null, to)),
  );
}

/** A round number at or above a value. */
export function nice(value) {
  if (!(value > 0)) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 2.5, 5, 10].find((factor) => factor * power >= value * (1 - 1e-9)) * power;
}

function told(line, show) {
  const known = line.values.filter(Number.isFinite);
  if (!known.length) return `${line.label}: nothing measured yet.`;
  return `${line.label}: now ${show(last(line.values))}, least ${show(Math.min(...known))}, most ${show(Math.max(...known))}.`;
}

function last(values) {
  return values.findLast((value) => Number.isFinite(value)) ?? Number.NaN;
}

function path(values, highest) {
  let drawn = "";
  let joined = false;
  values.forEach((value, index) => {
    if (!Number.isFinite(value)) {
      joined = false;
      return;
    }
    drawn += `${joined ? "L" : "M"}${x(index, values)} ${y(value, highest)}`;
    joined = true;
  });
  return drawn;
}

function area(values, highest) {
  const known = values.map((value) => (Number.isFinite(value) ? value : 0));
  if (!known.length) return "";
  return `M0 ${HEIGHT}${known.map((value, index) => `L${x(index, values)} ${y(value, highest)}`).join("")}L${WIDTH} ${HEIGHT}Z`;
}

function x(index, values) {
  return ((index / Math.max(1, values.length - 1)) * WIDTH).toFixed(1);
}

function y(value, highest) {
  return (HEIGHT - (Math.min(value, highest) / highest) * (HEIGHT - 2) - 1).toFixed(1);
}
