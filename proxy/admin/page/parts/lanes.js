// The timeline of attacks, from what the API tells of each.

import { subject } from "./subject.js";
import { timeline } from "../charts/timeline.js";
import { h } from "../render.js";
import { link } from "../routes.js";
import { name } from "../text.js";
import { TECHNIQUES } from "../words.js";

const LONGEST = 3600;
const SHORTEST = 300;

/** Lanes of attacks, from the first of them on, an hour at most. */
export function attackLanes(attacks, now, empty) {
  const shown = attacks.filter((each) => each.steps.length);
  if (!shown.length) return h("p", { class: "empty" }, empty);
  const first = Math.min(...shown.map((each) => each.steps[0].time));
  const from = Math.max(now - LONGEST, Math.min(first - 15, now - SHORTEST));
  return timeline({
    from,
    to: now,
    head: "what, by whom",
    attacks: shown.map((each) => ({
      key: each.id,
      mode: each.mode,
      steps: each.steps,
      ended: !each.step,
      end: each.step ? now : (each.ended ?? each.until),
      label: [
        h(
          "a",
          { href: link("attack", { id: each.id }) },
          TECHNIQUES[each.technique]?.name ?? each.technique,
          " on ",
          name(each.model, 24),
        ),
        h("span", { class: "sub" }, "by ", subject(each, 30)),
      ],
    })),
  });
}
