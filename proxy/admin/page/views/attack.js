// One attack: what it is, how sure it is, what was done, and by whom.

import { evidence } from "../parts/evidence.js";
import { ladder } from "../parts/ladder.js";
import { attackLanes } from "../parts/lanes.js";
import { facts, sheet } from "../parts/sheet.js";
import { subject } from "../parts/subject.js";
import { table } from "../parts/table.js";
import { enforced, sure } from "../parts/verdict.js";
import { h } from "../render.js";
import { link } from "../routes.js";
import { ago, count, duration, name, wholeName } from "../text.js";
import { KINDS, TECHNIQUES } from "../words.js";

export const title = (_, data) => (data ? (TECHNIQUES[data.technique]?.name ?? data.technique) : "Attack");

export function load({ id }, get) {
  return get(`/attacks/${encodeURIComponent(id)}`);
}

export function show({ data }) {
  const technique = TECHNIQUES[data.technique] ?? { name: data.technique, meaning: "" };
  return [
    h(
      "div",
      { class: "page-head" },
      h(
        "div",
        null,
        h("p", { class: "crumb" }, h("a", { href: link("attacks") }, "Attacks")),
        h("h1", null, technique.name, " on ", name(data.model)),
        h("p", { class: "quiet" }, `Somebody is ${technique.meaning}.`),
      ),
    ),
    sheet("What is known", [
      h(
        "div",
        { class: "body" },
        facts([
          ["By", subject(data)],
          ["Step", ladder(data.step, data.mode)],
          ["How sure", sure(data)],
          ["Enforced", enforced(data)],
          ["Began", ago(data.since)],
          ["Lasts", data.step ? `${duration(data.until - data.now)} after the last evidence` : "over"],
          ["Rows when found", count(data.found_at)],
          ["Rows when acted on", data.acted_at ? count(data.acted_at) : "not yet"],
          ["MITRE ATLAS", h("code", null, data.atlas)],
          ["OWASP ML", h("code", null, data.owasp)],
          ["Id", h("code", null, data.id)],
        ]),
      ),
      attackLanes([data], data.now, ""),
    ]),
    sheet(
      "Evidence",
      data.evidence.length ? evidence(data.evidence) : h("p", { class: "empty" }, "None that still counts."),
    ),
    data.subject.kind !== "caller" && sheet(`Callers of this ${KINDS[data.subject.kind]}`, callers(data.callers)),
    sheet(
      "About whom",
      h("div", { class: "body" }, wholeName(data.subject.id, `Id of the ${KINDS[data.subject.kind]}`)),
    ),
  ];
}

function callers(rows) {
  return table({
    caption: "Callers and how many of the rows are theirs",
    key: (row) => row.key,
    rows,
    empty: "No caller has sent several of its rows.",
    columns: [
      {
        title: "Caller",
        head: true,
        wide: true,
        cell: (row) => h("a", { href: link("caller", { id: row.key }) }, name(row.name)),
      },
      { title: "Rows", numeric: true, cell: (row) => count(row.rows) },
    ],
  });
}
