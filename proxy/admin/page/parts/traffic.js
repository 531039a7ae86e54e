// Traffic and latency of the last minutes.

import { lineChart } from "../charts/line.js";
import { h } from "../render.js";
import { compact, duration, latency } from "../text.js";

const TOGETHER = 5; // seconds in one point of a line

/** Charts of what `/traffic` tells, second by second. */
export function traffic({ points }) {
  const groups = [];
  for (let at = points.length % TOGETHER; at < points.length; at += TOGETHER)
    groups.push(points.slice(at, at + TOGETHER));
  const rate = (key) => groups.map((group) => group.reduce((sum, point) => sum + point[key], 0) / TOGETHER);
  const middle = (key) => groups.map((group) => known(group, key).at(known(group, key).length / 2));
  const worst = (key) => groups.map((group) => known(group, key).at(-1));
  const slowness = (title, half, most) => ({
    title,
    show: latency,
    lines: [
      { label: "p50", kind: "first", values: middle(half) },
      { label: "p99", kind: "faint", values: worst(most) },
    ],
  });
  const charts = [
    {
      title: "Calls a second",
      show: compact,
      lines: [
        { label: "all", kind: "first", values: rate("calls") },
        { label: "refused", kind: "second", values: rate("refused") },
      ],
    },
    { title: "Rows a second", show: compact, lines: [{ label: "rows", kind: "first", values: rate("rows") }] },
    slowness("Latency", "p50", "p99"),
    slowness("Proxy's part", "proxy_p50", "proxy_p99"),
  ];
  return h(
    "section",
    { class: "tiles dims", "aria-label": "Traffic and latency" },
    charts.map((chart) =>
      h("div", { class: "sheet" }, lineChart({ ...chart, from: `${duration(points.length)} ago`, to: "now" })),
    ),
  );
}

/** The measured values of some seconds, in order of size. */
function known(group, key) {
  return group
    .map((point) => point[key])
    .filter(Number.isFinite)
    .sort((one, other) => one - other);
}
