// What detectors found: each statistic in words, against the value that benign callers hardly reach.

import { h } from "../render.js";
import { ago, count, duration, number } from "../text.js";
import { odds, statistic } from "../words.js";

/** A list of the evidence of one verdict, the strongest first. */
export function evidence(found) {
  return [...found].sort((one, other) => other.surprise - one.surprise).map(proof);
}

function proof(each) {
  const { name: title, meaning } = statistic(each.statistic);
  return h(
    "div",
    { class: "proof", key: each.statistic },
    h(
      "div",
      null,
      h("h3", null, title, each.alone && h("span", { class: "tag" }, "enough by itself")),
      h("p", null, meaning && `${sentence(meaning)} `, sentence(`${odds(each.surprise)} shows as much`)),
      h(
        "p",
        { class: "small quiet" },
        each.note && [h("bdi", null, each.note), ". "],
        `${count(each.rows)} rows`,
        each.window > 0 && ` over ${duration(each.window)}`,
        ", ",
        ago(each.time),
        ". ",
        h("code", null, each.statistic),
      ),
    ),
    gauge(each),
  );
}

function sentence(text) {
  return `${text[0].toUpperCase()}${text.slice(1)}.`;
}

/** The value on a scale that ends beyond both value and threshold; the mark is the threshold. */
function gauge({ value, threshold, surprise }) {
  const known = Number.isFinite(threshold) && threshold > 0;
  const end = Math.max(value, known ? threshold : 0, 1e-9) * 1.15;
  const at = (of) => ((Math.max(0, of) / end) * 300).toFixed(1);
  const over = known && value > threshold;
  const said = known
    ? `${number(value)}, ${over ? "above" : "below"} the threshold of ${number(threshold)}`
    : `${number(value)}; no threshold is known`;
  return h(
    "div",
    { class: "gauge" },
    h(
      "svg",
      { viewBox: "0 0 300 16", preserveAspectRatio: "none", role: "img", "aria-label": said },
      h("rect", { class: "rail", x: 0, y: 5, width: 300, height: 6 }),
      h("rect", { class: over ? "fill over" : "fill", x: 0, y: 5, width: at(value), height: 6 }),
      known && h("path", { class: "mark", d: `M${at(threshold)} 0V16` }),
    ),
    h(
      "span",
      { "aria-hidden": "true" },
      h("strong", null, number(value)),
      known ? ` ${over ? "above" : "below"} threshold ${number(threshold)}` : " (no threshold known)",
      ` · ${number(surprise)} decades`,
    ),
  );
}
