// How a caller stands: by what detectors found, and by what an operator decided.

import { ladder } from "./ladder.js";
import { h } from "../render.js";

const DECIDED = { block: "blocked by an operator", immunise: "immune" };

/** Both, for a line of a table. */
export function standing({ step, mode, manual }) {
  if (!manual) return ladder(step, mode);
  return h(
    "span",
    { class: "tags" },
    step && ladder(step, mode),
    h("span", { class: `tag ${manual}` }, DECIDED[manual] ?? manual),
  );
}
