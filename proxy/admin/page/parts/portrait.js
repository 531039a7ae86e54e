// How near a caller's rows are to each other, and how far a copy would have come, for one model.

import { histogram } from "../charts/histogram.js";
import { lineChart } from "../charts/line.js";
import { sheet } from "./sheet.js";
import { h } from "../render.js";
import { duration, many, name, percent } from "../text.js";

/** Both figures, beside each other. */
export function portrait({ model, distances, progress }) {
  return h("div", { class: "columns", key: model }, [
    h("div", { class: "half" }, sheet("How close its rows are", distances ? closeness(distances) : few, on(model))),
    h("div", { class: "half" }, sheet("How far a copy has come", progress ? copy(progress.points) : spared, on(model))),
  ]);
}

const few = h("p", { class: "empty" }, "It has sent too few rows to compare them.");
const spared = h(
  "p",
  { class: "empty" },
  "It has sent no more rows than usual; beyond that, a copy is trained on what it was told.",
);

function on(model) {
  return h("span", { class: "quiet small" }, "on ", name(model, 28));
}

function closeness(distances) {
  const title = `Distance to the nearest earlier row, of ${many(distances.rows, "row")}`;
  return h("div", { class: "body" }, histogram({ title, axis: "distance of embeddings", ...distances }));
}

function copy(points) {
  const first = points[0];
  const last = points.at(-1);
  return h(
    "div",
    { class: "body" },
    lineChart({
      title: "Answers that a copy foretells",
      said: `A simple copy trained on what it was told foretells ${percent(last.fidelity)} of its next answers, after ${many(last.rows, "row")} in ${duration(last.time - first.time)}. The caller's own copy may know more.`,
      lines: [{ label: "share", kind: "first", values: points.map((point) => point.fidelity) }],
      show: percent,
      from: many(first.rows, "row"),
      to: many(last.rows, "row"),
      top: 1,
      tall: true,
    }),
  );
}
