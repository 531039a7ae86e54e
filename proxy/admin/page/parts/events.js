// Entries of the audit log: what detectors found, and what operators and the proxy did.

import { ladder } from "./ladder.js";
import { table } from "./table.js";
import { h } from "../render.js";
import { link } from "../routes.js";
import { clock, moment, name } from "../text.js";
import { KINDS, TECHNIQUES } from "../words.js";

const SAID = {
  "verdict.new": "found",
  "verdict.reached": "rose",
  "verdict.lowered": "came down",
  "verdict.expired": "ran out",
  "verdict.released": "was ended by a release",
  login: "signed in",
  logout: "signed out",
  "access.failed": "A token that is not valid was used",
  "access.limited": "Too many wrong tokens: the address has to wait",
  "access.forbidden": "A viewer tried to act",
  "configuration.reloaded": "A new configuration was taken",
  "configuration.refused": "A new configuration was refused; the old one stays",
  "proxy.started": "The proxy started",
  "proxy.stopped": "The proxy stopped",
};

const DONE = { block: "blocked", release: "released", immunise: "immunised", end_immunity: "ended the immunity of" };

/** A table of events, the latest first. */
export function eventList(events, empty = "Nothing has happened yet.") {
  return table({
    caption: "Events, the latest first",
    key: (event) => event.id,
    rows: events,
    empty,
    columns: [
      {
        title: "When",
        cell: (event) =>
          h(
            "time",
            { datetime: event.time, title: moment(Date.parse(event.time) / 1000) },
            clock(Date.parse(event.time) / 1000),
          ),
      },
      { title: "What", head: true, wide: true, cell: what },
      { title: "Whom", wide: true, cell: whom },
      { title: "Model", cell: (event) => model(event) },
    ],
  });
}

function what(event) {
  if (event.event === "action")
    return [
      "Operator ",
      name(event.operator),
      " ",
      h("strong", null, DONE[event.action] ?? event.action),
      quote(event.reason),
    ];
  if (event.verdict) {
    const { technique, step, mode } = event.verdict;
    return [
      h(
        "span",
        { class: "entry" },
        TECHNIQUES[technique]?.name ?? technique,
        ` ${SAID[event.event] ?? event.event}`,
        step && ladder(step, mode),
      ),
      h("span", { class: "sub" }, [...event.atlas, ...event.owasp_ml, ...event.owasp_aisvs].join(" · ")),
    ];
  }
  const said = SAID[event.event] ?? event.event;
  return [
    event.operator ? [name(event.operator), " ", said] : said,
    event.address && h("span", { class: "sub" }, "from ", name(event.address)),
  ];
}

function quote(reason) {
  return h("span", { class: "sub" }, "\u201c", h("bdi", null, reason), "\u201d");
}

function whom({ event, caller, verdict }) {
  if (event === "action") return h("a", { href: link("callers", { q: caller }) }, name(caller));
  if (!verdict) return "\u2013";
  const { kind, id } = verdict.subject;
  const text = kind === "caller" ? name(id) : [`a ${KINDS[kind]} `, name(id, 24)];
  return h("a", { href: link("attack", { id: verdict.id }) }, text);
}

function model(event) {
  if (event.event === "action") return event.model ? name(event.model, 28) : "all";
  return event.verdict ? name(event.verdict.model, 28) : "\u2013";
}
