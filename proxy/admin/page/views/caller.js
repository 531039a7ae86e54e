// One caller: how it stands, why, and what can be done.

import { ACTIONS } from "../parts/dialog.js";
import { eventList } from "../parts/events.js";
import { evidence } from "../parts/evidence.js";
import { ladder } from "../parts/ladder.js";
import { portrait } from "../parts/portrait.js";
import { facts, sheet } from "../parts/sheet.js";
import { enforced, sure } from "../parts/verdict.js";
import { h } from "../render.js";
import { link } from "../routes.js";
import { ago, count, duration, moment, name, short, wholeName } from "../text.js";
import { TECHNIQUES } from "../words.js";

const LONG = 64;

export const title = (_, data) => (data ? short(data.name, 32) : "Caller");

export function load({ id }, get) {
  return get(`/callers/${encodeURIComponent(id)}`);
}

export function show({ data, canAct, act }) {
  return [
    h(
      "div",
      { class: "page-head" },
      h(
        "div",
        null,
        h("p", { class: "crumb" }, h("a", { href: link("callers") }, "Callers")),
        h("h1", null, name(data.name, LONG)),
        h("p", null, standing(data)),
      ),
      canAct &&
        h(
          "div",
          { class: "actions", role: "group", "aria-label": "Actions" },
          possible(data).map((kind) => button(kind, data, act)),
        ),
    ),
    data.name.length > LONG &&
      h("div", { class: "sheet" }, h("div", { class: "body first" }, wholeName(data.name, "The whole name"))),
    data.verdicts.map((verdict) => against(verdict, data.now)),
    data.verdicts.length === 0 &&
      sheet("Evidence", h("p", { class: "empty" }, "Nothing that detectors found stands against this caller.")),
    data.evidence.map(portrait),
    sheet("What is known", h("div", { class: "body" }, known(data))),
    sheet("What happened to it", eventList(data.events)),
  ];
}

function known(data) {
  const models = Object.entries(data.models);
  return facts([
    ["Group", data.group && name(data.group)],
    ["Calls", count(data.calls)],
    ["Rows answered", count(data.rows)],
    ["Calls refused", count(data.refused)],
    ["First call", ago(data.first)],
    ["Last call", ago(data.last)],
    [
      "Rows by model",
      models.length
        ? models.map(([model, rows]) => h("span", { class: "item" }, name(model, 28), ` ${count(rows)}`))
        : null,
    ],
  ]);
}

function possible({ manual, decisions }) {
  const immune = decisions.some((each) => each.action === "immunise");
  return [manual?.action === "block" ? null : "block", "release", immune ? "end_immunity" : "immunise"].filter(Boolean);
}

function button(kind, data, act) {
  const { name: text, danger } = ACTIONS[kind];
  return h(
    "button",
    {
      type: "button",
      key: kind,
      class: danger ? "danger" : null,
      onclick: () => act(kind, data, Object.keys(data.models)),
    },
    text,
  );
}

function standing({ manual, verdicts, now }) {
  if (manual) return decision(manual, now);
  if (!verdicts.length) return h("span", { class: "quiet" }, "In good standing.");
  const [worst] = verdicts;
  return [ladder(worst.step, worst.mode), ` for ${worst.technique} on `, name(worst.model), "."];
}

function decision({ action, operator, reason, until, model }, now) {
  return [
    h("strong", null, action === "block" ? "Blocked" : "Immune"),
    model ? [" on ", name(model)] : "",
    " by ",
    name(operator),
    until ? `, for ${duration(until - now)} more: ` : ": ",
    "\u201c",
    h("bdi", null, reason),
    "\u201d",
  ];
}

function against(verdict, now) {
  const technique = TECHNIQUES[verdict.technique]?.name ?? verdict.technique;
  return h(
    "div",
    { key: verdict.id },
    sheet(
      `${technique}: the evidence`,
      [
        h(
          "div",
          { class: "body" },
          facts([
            ["Model", name(verdict.model)],
            ["Step", ladder(verdict.step, verdict.mode)],
            ["How sure", sure(verdict)],
            ["Enforced", enforced(verdict)],
            [
              "Lasts",
              [`${duration(verdict.until - now)} more`, h("span", { class: "sub" }, `until ${moment(verdict.until)}`)],
            ],
            ["Rows when found", count(verdict.found_at)],
            ["MITRE ATLAS, OWASP", `${verdict.atlas}, ${verdict.owasp}`],
          ]),
        ),
        evidence(verdict.evidence),
      ],
      h("a", { href: link("attack", { id: verdict.id }) }, "The whole attack"),
    ),
  );
}
