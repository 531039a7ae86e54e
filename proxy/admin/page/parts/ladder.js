// The ladder's step as a word and five bars, so that no colour has to be told from another.

import { h } from "../render.js";

export const STEPS = ["observe", "slow", "coarsen", "throttle", "block"];

const MEANING = {
  observe: "reported only",
  slow: "answers are held back",
  coarsen: "answers tell less",
  throttle: "few rows are answered",
  block: "refused, or answered with nothing new",
};

/** A step as bars and a word; `mode` shadow says that it is only reported. */
export function ladder(step, mode = "enforce") {
  if (!step) return h("span", { class: "quiet" }, "\u2013");
  const level = STEPS.indexOf(step);
  const shadow = mode === "shadow";
  return h(
    "span",
    {
      class: `ladder ${step}${shadow ? " shadow" : ""}`,
      title: shadow ? `${MEANING[step]}; in shadow: not acted on` : MEANING[step],
    },
    bars(level),
    step,
    shadow && h("span", { class: "tag" }, "shadow"),
  );
}

function bars(level) {
  return h(
    "svg",
    { class: "bars", viewBox: "0 0 19 12", "aria-hidden": "true" },
    STEPS.map((_, at) =>
      h("rect", { class: at <= level ? "on" : "off", x: at * 4, y: 9 - at * 2.25, width: 3, height: 3 + at * 2.25 }),
    ),
  );
}
