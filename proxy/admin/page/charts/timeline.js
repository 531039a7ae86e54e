// Attacks as lanes over time: each climbs its ladder like a staircase, so that height says the step as well as colour.

import { STEPS, ladder } from "../parts/ladder.js";
import { h } from "../render.js";
import { clock, duration } from "../text.js";

const WIDTH = 600;
const HEIGHT = 30;

/**
 * Lanes from `from` to `to` (seconds since 1970).
 *
 * `attacks` are [{ key, mode, label, steps: [{ time, step }], end }]: `label` is nodes, `steps` when it reached which.
 */
export function timeline({ attacks, from, to, head }) {
  return h(
    "div",
    { class: "lanes dims" },
    h(
      "div",
      { class: "lane head", "aria-hidden": "true" },
      h("span", null, head),
      h(
        "span",
        { class: "x" },
        h("span", null, clock(from)),
        h("span", null, clock((from + to) / 2)),
        h("span", null, "now"),
      ),
      h("span", null, "step now"),
    ),
    h(
      "ul",
      null,
      attacks.map((attack) => lane(attack, from, to)),
    ),
  );
}

function lane(attack, from, to) {
  const x = (time) => ((Math.min(Math.max(time, from), to) - from) / (to - from)) * WIDTH;
  const spans = attack.steps.map((step, at) => ({ ...step, end: attack.steps[at + 1]?.time ?? attack.end }));
  const latest = attack.steps.at(-1);
  return h(
    "li",
    { class: "lane", key: attack.key },
    h("div", { class: "lane-name" }, attack.label),
    h(
      "svg",
      {
        class: "track",
        viewBox: `0 0 ${WIDTH} ${HEIGHT}`,
        preserveAspectRatio: "none",
        role: "img",
        "aria-label": told(spans),
      },
      h("path", { class: "base", d: `M0 ${HEIGHT}H${WIDTH}` }),
      spans.map(({ step, time, end }) => {
        const height = ((STEPS.indexOf(step) + 1) / STEPS.length) * HEIGHT;
        const left = x(time);
        return h("rect", {
          class: `${step}${attack.mode === "shadow" ? " shadow" : ""}`,
          x: Math.min(left, WIDTH - 2).toFixed(1),
          y: (HEIGHT - height).toFixed(1),
          width: Math.max(2, x(end) - left).toFixed(1),
          height: height.toFixed(1),
        });
      }),
    ),
    h("div", null, ladder(attack.ended ? null : latest?.step, attack.mode)),
  );
}

function told(spans) {
  return spans.map(({ step, time, end }) => `${step} from ${clock(time)} for ${duration(end - time)}`).join(", then ");
}
