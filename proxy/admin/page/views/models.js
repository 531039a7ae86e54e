// The models: what stands before each, in which mode, and what it has found.

import { mode } from "../parts/mode.js";
import { table } from "../parts/table.js";
import { h } from "../render.js";
import { link } from "../routes.js";
import { count, name, percent, wholeName } from "../text.js";

export const title = () => "Models";

export function load(_, get) {
  return get("/models");
}

export function show({ data }) {
  return [
    h("h1", null, "Models"),
    h(
      "section",
      { class: "sheet dims", "aria-label": "Models" },
      table({
        caption: "Models, their protections and what was found",
        key: (row) => row.name,
        rows: data.models,
        empty: "No model is configured; calls to any are passed on.",
        columns: [
          { title: "Model", head: true, wide: true, cell: (row) => wholeName(row.name, "The whole name of the model") },
          { title: "Detection", cell: detection },
          { title: "Inputs", cell: (row) => rules(row.inputs) },
          { title: "Outputs", cell: (row) => rules(row.outputs) },
          { title: "Squeezing", cell: (row) => mode(row.squeezing ?? "off") },
          { title: "Limits", cell: (row) => limits(row.limits) },
          { title: "Enforced", numeric: true, cell: (row) => count(row.verdicts.enforce) },
          { title: "In shadow", numeric: true, cell: (row) => count(row.verdicts.shadow) },
          {
            title: "Attacks",
            cell: (row) =>
              h(
                "a",
                { href: link("attacks", { model: row.name }) },
                "Show",
                h("span", { class: "unseen" }, " attacks on ", name(row.name)),
              ),
          },
        ],
      }),
    ),
    h(
      "p",
      { class: "small quiet" },
      "Enforced and in shadow: verdicts that stand now. In shadow everything is found and reported, and nothing is acted on.",
    ),
  ];
}

function detection({ detection: held }) {
  if (!held) return mode("off");
  const calibrated = held.profile && held.profile !== "defaults";
  return [
    mode(held.mode),
    held.mode === "enforce" && held.percent < 100 && ` for ${percent(held.percent / 100)} of callers`,
    h(
      "span",
      { class: "sub" },
      calibrated ? ["profile ", h("code", null, held.profile)] : "no profile of its own: shadow whatever the mode",
    ),
  ];
}

function rules(held) {
  const all = Object.entries(held);
  if (!all.length) return h("span", { class: "quiet" }, "no rules");
  return all.map(([tensor, rule]) => h("span", { class: "item" }, name(tensor, 24), " ", mode(rule)));
}

function limits(held) {
  if (!held.length) return h("span", { class: "quiet" }, "none");
  return held.map(({ by, mode: own }, at) => h("span", { class: "item", key: at }, `by ${by} `, mode(own)));
}
