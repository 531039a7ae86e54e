// What an on-call needs first: is something happening, to which model, by whom, how sure, what was done.

import { ladder } from "../parts/ladder.js";
import { attackLanes } from "../parts/lanes.js";
import { eventList } from "../parts/events.js";
import { mode } from "../parts/mode.js";
import { sheet } from "../parts/sheet.js";
import { standing } from "../parts/standing.js";
import { subject } from "../parts/subject.js";
import { table } from "../parts/table.js";
import { traffic } from "../parts/traffic.js";
import { h } from "../render.js";
import { link } from "../routes.js";
import { ago, compact, many, name } from "../text.js";
import { TECHNIQUES, odds, sureness } from "../words.js";

export const title = () => "Overview";

export async function load(_, get) {
  const [summary, series, callers, models, events] = await Promise.all([
    get("/summary"),
    get("/traffic"),
    get("/callers", { limit: 8, sort: "score", order: "desc" }),
    get("/models"),
    get("/events", { limit: 10 }),
  ]);
  return { summary, series, callers, models, events };
}

/** The last seconds of traffic, added to what is known. */
export async function pulse(data, get) {
  const { points } = await get("/traffic", { seconds: 10 });
  const before = data.series.points.filter((point) => point.time < points[0].time);
  return { ...data, series: { ...data.series, points: [...before, ...points].slice(-data.series.points.length) } };
}

export function show({ data: { summary, series, callers, models, events } }) {
  return [
    headline(summary),
    sheet(
      "Attacks as they unfold",
      attackLanes(summary.strongest, summary.now, "Nobody is under suspicion now."),
      all("attacks"),
    ),
    traffic(series),
    h("div", { class: "columns" }, [
      h("div", { class: "most" }, sheet("Callers to look at", callersTable(callers), all("callers"))),
      h("div", { class: "rest" }, sheet("Models", modelsTable(models.models), all("models"))),
    ]),
    sheet("Latest events", eventList(events.events), all("events")),
  ];
}

function all(what) {
  return h("a", { href: link(what) }, `All ${what}`);
}

function headline(summary) {
  const { standing, acting } = summary;
  const [strongest] = summary.strongest;
  const kind = acting ? "attack" : standing ? "watch" : "calm";
  return h(
    "section",
    { class: `sheet headline ${kind}`, "aria-labelledby": "headline" },
    sign(kind),
    h(
      "div",
      null,
      h("h1", { id: "headline" }, said(summary)),
      h("p", null, strongest ? told(strongest) : quiet(summary)),
    ),
    strongest &&
      h(
        "div",
        { class: "actions" },
        h("a", { class: "button", href: link("attack", { id: strongest.id }) }, "Look at the strongest"),
      ),
  );
}

function said({ standing, acting, models }) {
  if (!standing) return "No attack is under way";
  const where = models.length === 1 ? ["on ", name(models[0])] : `on ${many(models.length, "model")}`;
  return acting
    ? [`${many(acting, "attack")} under way `, where]
    : [`${many(standing, "suspicion")} `, where, ", nothing acted on"];
}

function told(attack) {
  return [
    `Strongest: ${(TECHNIQUES[attack.technique]?.name ?? attack.technique).toLowerCase()} by `,
    subject(attack),
    `, ${sureness(attack.score)} (${odds(attack.score)} shows as much), now at `,
    ladder(attack.step, attack.mode),
    ` ${attack.mode === "enforce" ? "and enforced" : "but not enforced"}. First seen `,
    ago(attack.since),
    ".",
  ];
}

function quiet(summary) {
  return summary.last_attack
    ? ["The last one was ", ago(summary.last_attack), "."]
    : "None has been found since the proxy started.";
}

const SIGNS = {
  calm: "M4 12.500l5 5L20 6.500",
  watch: "M12 3L22 20H2zM12 9.500v5M12 16.500v1.500",
  attack: "M8 2h8l6 6v8l-6 6H8l-6-6V8zM12 7v6.500M12 15.500v1.700",
};

function sign(kind) {
  return h(
    "svg",
    { viewBox: "0 0 24 24", "aria-hidden": "true" },
    h("path", {
      d: SIGNS[kind],
      fill: "none",
      stroke: "currentColor",
      "stroke-width": 2,
      "stroke-linejoin": "round",
      "stroke-linecap": "round",
    }),
  );
}

function callersTable({ callers, total }) {
  return table({
    caption: "Callers with the most evidence against them",
    key: (row) => row.key,
    rows: callers.filter((row) => row.step || row.manual),
    empty: total ? `Nothing stands against any of ${many(total, "caller")}.` : "Nobody has called yet.",
    columns: [
      {
        title: "Caller",
        head: true,
        wide: true,
        cell: (row) => h("a", { href: link("caller", { id: row.key }) }, name(row.name)),
      },
      { title: "Step", cell: standing },
      { title: "For", cell: (row) => row.techniques.join(", ") || "\u2013" },
      { title: "How sure", cell: (row) => (row.score ? sureness(row.score) : "\u2013") },
      { title: "Rows", numeric: true, cell: (row) => compact(row.rows) },
      { title: "Last call", numeric: true, cell: (row) => ago(row.last) },
    ],
  });
}

function modelsTable(rows) {
  return table({
    caption: "Models and how detection protects them",
    key: (row) => row.name,
    rows,
    empty: "No model is configured.",
    columns: [
      {
        title: "Model",
        head: true,
        wide: true,
        cell: (row) => h("a", { href: link("models", { id: row.name }) }, name(row.name, 28)),
      },
      { title: "Detection", cell: (row) => mode(row.detection?.mode ?? "off") },
      { title: "Found", numeric: true, cell: (row) => compact(row.attacks) },
    ],
  });
}
