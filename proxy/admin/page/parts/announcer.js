// What screen readers hear of new attacks: one sentence at a time, however many there are.

import { short } from "../text.js";
import { TECHNIQUES } from "../words.js";

const PAUSE = 6000; // ms

/** Returns a function that tells of an attack in the given live region. */
export function announcer(region) {
  let waiting = [];
  let timer = 0;

  function say() {
    timer = 0;
    if (!waiting.length) return;
    const latest = waiting.at(-1);
    const more = waiting.length > 1 ? `, and ${waiting.length - 1} more changes` : "";
    region.textContent = `${TECHNIQUES[latest.technique]?.name ?? latest.technique} on ${short(latest.model)}: ${latest.step ?? "over"}${more}.`;
    waiting = [];
    timer = setTimeout(say, PAUSE);
  }

  return (attack) => {
    waiting.push(attack);
    if (!timer) say();
  };
}
