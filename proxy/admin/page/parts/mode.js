// A rule's mode, as a word in a frame; in shadow the frame is dashed.

import { h } from "../render.js";

/** off, shadow or enforce. */
export function mode(value) {
  return h("span", { class: `tag ${value === "shadow" ? "shadow-mode" : value}` }, value);
}
