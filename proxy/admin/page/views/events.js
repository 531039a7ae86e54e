// The audit log's latest events.

import { eventList } from "../parts/events.js";
import { h } from "../render.js";

export const title = () => "Events";

export function load(_, get) {
  return get("/events", { limit: 200 });
}

export function show({ data }) {
  return [
    h("h1", null, "Events"),
    h("section", { class: "sheet dims", "aria-label": "Events" }, eventList(data.events)),
  ];
}
