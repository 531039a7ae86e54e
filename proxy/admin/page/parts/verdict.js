// What stands in a verdict, in words.

import { h } from "../render.js";
import { odds, sureness } from "../words.js";

/** How sure detection is, in a word and as odds. */
export function sure({ score }) {
  return [sureness(score), h("span", { class: "sub" }, odds(score))];
}

/** Whether it is acted on, and how. */
export function enforced({ mode, answer, immune }) {
  if (immune) return "no: the caller is immune";
  if (mode !== "enforce") return "no: in shadow";
  return answer === "silent" ? "yes, silently" : "yes, by refusing";
}
