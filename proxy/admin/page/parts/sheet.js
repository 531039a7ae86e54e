// A headed part of a view.

import { h } from "../render.js";

/** `aside` stands opposite the heading. */
export function sheet(heading, body, aside = null) {
  const id = `part-${heading.toLowerCase().replaceAll(/[^a-z]+/g, "-")}`;
  return h(
    "section",
    { class: "sheet dims", "aria-labelledby": id },
    h("header", null, h("h2", { id }, heading), aside),
    body,
  );
}

/** Facts as terms and values; pairs without a value are left out. */
export function facts(pairs) {
  return h(
    "dl",
    { class: "facts" },
    pairs
      .filter(([, value]) => value !== null && value !== undefined && value !== "")
      .map(([term, value]) => h("div", null, h("dt", null, term), h("dd", null, value))),
  );
}
