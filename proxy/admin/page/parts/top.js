// The top of the page: the way around, whether what is shown is live, and who is signed in.

import { h } from "../render.js";
import { link } from "../routes.js";
import { duration } from "../text.js";

const PLACES = [
  ["overview", "Overview"],
  ["attacks", "Attacks"],
  ["callers", "Callers"],
  ["models", "Models"],
  ["events", "Events"],
];
const WITHIN = { attack: "attacks", caller: "callers" };

/** The bar's nodes. */
export function topBar(app, leave) {
  const here = WITHIN[app.route.view] ?? app.route.view;
  const brand = h("a", { class: "brand", href: "#/" }, h("img", { src: "page/icon.svg", alt: "" }), "tensorwall");
  if (!app.session) return [brand];
  return [
    brand,
    h(
      "nav",
      { "aria-label": "Main" },
      h(
        "ul",
        null,
        PLACES.map(([view, text]) =>
          h("li", null, h("a", { href: link(view), "aria-current": view === here ? "page" : null }, text)),
        ),
      ),
    ),
    live(app),
    h(
      "div",
      { class: "who" },
      h("span", null, h("strong", null, app.session.name), h("span", { class: "role" }, ` · ${app.session.role}`)),
      h("button", { class: "plain", type: "button", onclick: leave }, "Sign out"),
    ),
  ];
}

function live({ live: up, heard }) {
  if (up === null) return h("span", { class: "live quiet", role: "status" }, "Connecting");
  if (up) return h("span", { class: "live up", role: "status" }, "Live");
  const seconds = heard ? Math.floor((Date.now() - heard) / 5000) * 5 : 0;
  const since = seconds ? ` for ${duration(seconds)}` : "";
  return h("span", { class: "live down", role: "status" }, `Stale${since}, reconnecting`);
}
