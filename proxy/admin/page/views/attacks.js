// All attacks: their timeline, and each in a line.

import { STEPS, ladder } from "../parts/ladder.js";
import { attackLanes } from "../parts/lanes.js";
import { filters, modelOptions } from "../parts/filters.js";
import { sheet } from "../parts/sheet.js";
import { subject } from "../parts/subject.js";
import { pager, table } from "../parts/table.js";
import { sure } from "../parts/verdict.js";
import { h } from "../render.js";
import { link } from "../routes.js";
import { ago, duration, name } from "../text.js";
import { TECHNIQUES } from "../words.js";

const SIZE = 50;

export const title = () => "Attacks";

export async function load(params, get) {
  const offset = (Number(params.page ?? 1) - 1) * SIZE;
  const { model, technique, step } = params;
  const [found, models] = await Promise.all([
    get("/attacks", { model, technique, step, offset, limit: SIZE }),
    get("/models"),
  ]);
  return { ...found, offset, models: models.models.map((each) => each.name) };
}

export function show({ data, route: { params } }) {
  const now = data.now;
  return [
    h("h1", null, "Attacks"),
    sheet("Timeline", attackLanes(data.attacks.slice(0, 16), now, "None in the last hour.")),
    sheet("Each attack", [
      filters("attacks", params, [
        { key: "model", title: "Model", options: modelOptions(data.models) },
        {
          key: "technique",
          title: "Technique",
          options: [["", "all techniques"], ...Object.entries(TECHNIQUES).map(([key, each]) => [key, each.name])],
        },
        {
          key: "step",
          title: "Step",
          options: [["", "all"], ["any", "any that stands"], ...STEPS.map((each) => [each, each])],
        },
      ]),
      table({
        caption: "Attacks, the latest first",
        key: (row) => row.id,
        rows: data.attacks,
        empty: "There is no such attack.",
        columns: [
          {
            title: "Attack",
            head: true,
            wide: true,
            cell: (row) => [
              h("a", { href: link("attack", { id: row.id }) }, TECHNIQUES[row.technique]?.name ?? row.technique),
              h("span", { class: "sub" }, `${row.atlas} · ${row.owasp}`),
            ],
          },
          { title: "Model", cell: (row) => name(row.model, 28) },
          { title: "By", wide: true, cell: (row) => subject(row) },
          { title: "Step", cell: (row) => ladder(row.step, row.mode) },
          { title: "How sure", cell: sure },
          { title: "Began", cell: (row) => ago(row.since) },
          { title: "Lasts", cell: (row) => (row.step ? `${duration(row.until - now)} more` : "over") },
        ],
      }),
      pager({
        view: "attacks",
        params,
        offset: data.offset,
        shown: data.attacks.length,
        total: data.total,
        size: SIZE,
        what: "attacks",
      }),
    ]),
  ];
}
