// Everybody who calls: found, sorted and paged by the server.

import { STEPS } from "../parts/ladder.js";
import { filters, modelOptions } from "../parts/filters.js";
import { standing } from "../parts/standing.js";
import { pager, table } from "../parts/table.js";
import { h } from "../render.js";
import { link } from "../routes.js";
import { ago, count, name } from "../text.js";
import { sureness } from "../words.js";

const SIZE = 50;
const FIRST = { sort: "score", order: "desc" };

export const title = () => "Callers";

export async function load(params, get) {
  const offset = (Number(params.page ?? 1) - 1) * SIZE;
  const { q, model, step, sort = FIRST.sort, order = FIRST.order } = params;
  const [found, models] = await Promise.all([
    get("/callers", { q, model, step, sort, order, offset, limit: SIZE }),
    get("/models"),
  ]);
  return { ...found, offset, models: models.models.map((each) => each.name) };
}

export function show({ data, route }) {
  const params = { ...FIRST, ...route.params };
  return [
    h("h1", null, "Callers"),
    h("section", { class: "sheet dims", "aria-label": "Callers" }, [
      filters("callers", route.params, [
        { key: "q", title: "Name or group contains" },
        { key: "model", title: "Model", options: modelOptions(data.models) },
        {
          key: "step",
          title: "Step",
          options: [["", "all"], ["any", "any step"], ...STEPS.map((each) => [each, each])],
        },
      ]),
      table({
        caption: "Callers",
        key: (row) => row.key,
        rows: data.callers,
        sorted: { view: "callers", params },
        empty: "There is no such caller.",
        columns: [
          {
            title: "Caller",
            sort: "name",
            head: true,
            wide: true,
            cell: (row) => [
              h("a", { href: link("caller", { id: row.key }) }, name(row.name)),
              " ",
              h("span", { class: "beside" }, name(row.group)),
            ],
          },
          { title: "Step", sort: "step", cell: standing },
          { title: "How sure", sort: "score", cell: (row) => (row.score ? sureness(row.score) : "\u2013") },
          { title: "Calls", sort: "calls", numeric: true, cell: (row) => count(row.calls) },
          { title: "Rows", sort: "rows", numeric: true, cell: (row) => count(row.rows) },
          { title: "Refused", sort: "refused", numeric: true, cell: (row) => count(row.refused) },
          { title: "Last call", sort: "last", numeric: true, cell: (row) => ago(row.last) },
        ],
      }),
      pager({
        view: "callers",
        params: route.params,
        offset: data.offset,
        shown: data.callers.length,
        total: data.total,
        size: SIZE,
        what: "callers",
      }),
    ]),
  ];
}
