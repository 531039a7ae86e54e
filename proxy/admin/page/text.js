// Numbers, times and other people's text, as they are shown.

import { h } from "./render.js";

const HIDDEN = /[\p{Cc}\p{Cf}\p{Co}\p{Cs}\u2028\u2029\u115f\u1160\u3164\uffa0]/gu;
const SHOWN = { "\n": "\u23ce", "\t": "\u21e5", "\r": "\u240d" };
const LONG = 48;

/** Text with what cannot be seen made visible: controls, direction overrides, zero-width letters. */
export function visible(text) {
  return String(text).replace(HIDDEN, (letter) => SHOWN[letter] ?? `\\u{${letter.codePointAt(0).toString(16)}}`);
}

/** Short enough for a line: its beginning and its end. */
export function short(text, long = LONG) {
  const letters = Array.from(visible(text));
  if (letters.length <= long) return letters.join("");
  const tail = Math.floor(long / 4);
  return `${letters.slice(0, long - tail - 1).join("")}\u2026${letters.slice(-tail).join("")}`;
}

/** A name that somebody else chose, cut to a line and kept from turning its surroundings around. */
export function name(text, long = LONG) {
  return h("bdi", { class: "name" }, short(text, long));
}

/** The same name, all of it; a long one in a box of its own that scrolls. */
export function wholeName(text, label) {
  const all = visible(text);
  if (all.length <= 2 * LONG) return h("bdi", { class: "name" }, all);
  return h(
    "details",
    { class: "whole" },
    h("summary", null, name(text, 2 * LONG), ` (all ${count(all.length)} characters)`),
    h(
      "div",
      { class: "whole-text", tabindex: "0", role: "region", "aria-label": label },
      h("bdi", { class: "name" }, all),
    ),
  );
}

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const three = new Intl.NumberFormat("en", { maximumSignificantDigits: 3 });

/** 12,345 */
export function count(value) {
  return whole.format(value);
}

/** 1.23, 12.3, 123; a dash where there is none. */
export function number(value) {
  return Number.isFinite(value) ? three.format(value) : "\u2013";
}

/** 12.3k, for where there is little room. */
export function compact(value) {
  if (!Number.isFinite(value)) return "\u2013";
  const size = Math.abs(value);
  if (size >= 1e9) return `${number(value / 1e9)}G`;
  if (size >= 1e6) return `${number(value / 1e6)}M`;
  return size >= 1e4 ? `${number(value / 1e3)}k` : number(value);
}

/** 42 % */
export function percent(share) {
  return Number.isFinite(share) ? `${Math.round(100 * share)}\u00a0%` : "\u2013";
}

/** 850 µs, 12.3 ms, 1.2 s */
export function latency(seconds) {
  if (!Number.isFinite(seconds)) return "\u2013";
  if (seconds < 0.001) return `${number(seconds * 1e6)}\u00a0\u00b5s`;
  return seconds < 1 ? `${number(seconds * 1e3)}\u00a0ms` : `${number(seconds)}\u00a0s`;
}

/** 45 s, 12 min, 3 h, 2 d */
export function duration(seconds) {
  const size = Math.max(0, Math.round(seconds));
  if (size < 90) return `${size}\u00a0s`;
  if (size < 90 * 60) return `${Math.round(size / 60)}\u00a0min`;
  if (size < 36 * 3600) return `${Math.round(size / 3600)}\u00a0h`;
  return `${Math.round(size / 86400)}\u00a0d`;
}

/** How long ago, in a <time> that has the moment itself. */
export function ago(time, now = Date.now() / 1000) {
  if (!time) return "\u2013";
  return h(
    "time",
    { datetime: iso(time), title: moment(time) },
    now - time < 1.5 ? "just now" : `${duration(now - time)} ago`,
  );
}

/** 14:05:09, with the date where it is not today's. */
export function clock(time) {
  const date = new Date(time * 1000);
  const hours = date.toLocaleTimeString("en-GB");
  return date.toDateString() === new Date().toDateString() ? hours : `${iso(time).slice(0, 10)} ${hours}`;
}

/** 2026-11-26 14:05:09 UTC */
export function moment(time) {
  return `${iso(time).slice(0, 19).replace("T", " ")} UTC`;
}

function iso(time) {
  return new Date(time * 1000).toISOString();
}

/** "1 caller", "2 callers" */
export function many(size, one, more = `${one}s`) {
  return `${count(size)}\u00a0${size === 1 ? one : more}`;
}
