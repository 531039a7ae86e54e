// Tables: headed columns, server-side sorting and pages, and cards on a phone. The roles are written out since a style
// that turns rows into cards would take them away.

import { h } from "../render.js";
import { link } from "../routes.js";
import { count } from "../text.js";

/**
 * A table.
 *
 * `columns` are [{ title, cell(row), sort, numeric, wide, head }]; the one with `head` names the row. `sorted` is
 * { view, params } where the order is part of the address: `params.sort` and `params.order`.
 */
export function table({ caption, columns, rows, key, sorted, empty }) {
  if (!rows.length) return h("p", { class: "empty" }, empty);
  return h(
    "div",
    { class: "scroll" },
    h(
      "table",
      { class: "cards", role: "table" },
      h("caption", { class: "unseen" }, caption),
      h(
        "thead",
        { role: "rowgroup" },
        h(
          "tr",
          { role: "row" },
          columns.map((column) => heading(column, sorted)),
        ),
      ),
      h(
        "tbody",
        { role: "rowgroup" },
        rows.map((row) =>
          h(
            "tr",
            { key: key(row), role: "row" },
            columns.map((column) => cell(column, row)),
          ),
        ),
      ),
    ),
  );
}

function heading(column, sorted) {
  const own = sorted && column.sort && sorted.params.sort === column.sort;
  const order = own ? sorted.params.order : null;
  return h(
    "th",
    {
      scope: "col",
      role: "columnheader",
      class: column.numeric ? "n" : null,
      "aria-sort": own ? (order === "asc" ? "ascending" : "descending") : null,
    },
    sorted && column.sort ? sorter(column, sorted, order) : column.title,
  );
}

function sorter(column, sorted, order) {
  const next = { ...sorted.params, sort: column.sort, order: order === "desc" ? "asc" : "desc", page: "" };
  const arrow = { asc: " \u25b2", desc: " \u25bc" }[order] ?? "";
  return h(
    "a",
    { class: "sort", href: link(sorted.view, next) },
    column.title,
    arrow && h("span", { "aria-hidden": "true" }, arrow),
  );
}

function cell(column, row) {
  const kind = [column.numeric && "n", column.wide && "wide"].filter(Boolean).join(" ") || null;
  if (column.head) return h("th", { scope: "row", role: "rowheader", class: kind }, column.cell(row));
  return h("td", { role: "cell", class: kind, "data-label": column.wide ? null : column.title }, column.cell(row));
}

/** Which part of how many, and the way to the next. */
export function pager({ view, params, offset, shown, total, size, what }) {
  const page = Math.floor(offset / size) + 1;
  const step = (to, text, on) =>
    on
      ? h("a", { class: "button", href: link(view, { ...params, page: to > 1 ? to : "" }) }, text)
      : h("span", { class: "button", "aria-disabled": "true" }, text);
  return h(
    "nav",
    { class: "pager", "aria-label": `Pages of ${what}` },
    h(
      "span",
      null,
      shown ? `${count(offset + 1)}\u2013${count(offset + shown)} of ${count(total)}` : `0 of ${count(total)}`,
    ),
    h(
      "span",
      { class: "actions" },
      step(page - 1, "Previous", page > 1),
      step(page + 1, "Next", offset + shown < total),
    ),
  );
}
