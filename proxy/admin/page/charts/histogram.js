// Two distributions in one drawing: a caller's as bars, the benign profile's as an outline; and as a table.

import { h } from "../render.js";
import { number, percent } from "../text.js";

const WIDTH = 300;
const HEIGHT = 100;

/**
 * A figure that compares shares by bin.
 *
 * `edges` has one more entry than `own` and `usual`, which are shares of each bin (`usual` may be null). `said` is what
 * the picture shows, in a sentence; `axis` names what the edges measure; `mark` is a value of interest on it.
 */
export function histogram({ title, axis, edges, own, usual, said, mark }) {
  const highest = Math.max(0.01, ...own, ...(usual ?? []));
  const step = WIDTH / own.length;
  return h(
    "figure",
    { class: "chart histogram" },
    h(
      "figcaption",
      null,
      h("span", { class: "chart-title" }, title),
      h("span", { class: "key own" }, "this caller"),
      usual && h("span", { class: "key usual" }, "benign profile"),
      mark && h("span", { class: "key mark" }, mark.text),
    ),
    h("p", { class: "said" }, said),
    h(
      "div",
      { class: "plot tall" },
      h(
        "svg",
        {
          viewBox: `0 0 ${WIDTH} ${HEIGHT}`,
          preserveAspectRatio: "none",
          role: "img",
          "aria-label": `${title}. ${said}`,
        },
        own.map((share, bin) => bar(share, bin, step, highest)),
        usual && h("path", { class: "outline", d: outline(usual, step, highest) }),
        mark && h("path", { class: "mark", d: `M${((mark.value / edges.at(-1)) * WIDTH).toFixed(1)} 0V${HEIGHT}` }),
      ),
      h("span", { class: "y", "aria-hidden": "true" }, percent(highest)),
    ),
    h(
      "div",
      { class: "x", "aria-hidden": "true" },
      h("span", null, number(edges[0])),
      h("span", null, axis),
      h("span", null, number(edges.at(-1))),
    ),
    numbers(axis, edges, own, usual),
  );
}

function bar(share, bin, step, highest) {
  const height = (share / highest) * HEIGHT;
  return h("rect", {
    class: "bar",
    x: (bin * step + step * 0.08).toFixed(2),
    y: (HEIGHT - height).toFixed(2),
    width: (step * 0.84).toFixed(2),
    height: height.toFixed(2),
  });
}

function outline(usual, step, highest) {
  return usual
    .map((share, bin) => {
      const y = (HEIGHT - (share / highest) * (HEIGHT - 1)).toFixed(2);
      return `${bin === 0 ? "M" : "L"}${(bin * step).toFixed(2)} ${y}H${((bin + 1) * step).toFixed(2)}`;
    })
    .join("");
}

function numbers(axis, edges, own, usual) {
  return h(
    "details",
    { class: "numbers" },
    h("summary", null, "As a table"),
    h(
      "table",
      null,
      h(
        "thead",
        null,
        h(
          "tr",
          null,
          h("th", { scope: "col" }, axis),
          h("th", { scope: "col", class: "n" }, "This caller"),
          usual && h("th", { scope: "col", class: "n" }, "Benign"),
        ),
      ),
      h(
        "tbody",
        null,
        own.map((share, bin) =>
          h(
            "tr",
            null,
            h("th", { scope: "row" }, `${number(edges[bin])} to ${number(edges[bin + 1])}`),
            h("td", { class: "n" }, percent(share)),
            usual && h("td", { class: "n" }, percent(usual[bin])),
          ),
        ),
      ),
    ),
  );
}
