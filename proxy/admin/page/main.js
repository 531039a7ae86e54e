// The page: who is there, where they are, and the view that shows it, kept up to date by the stream.

import * as api from "./api.js";
import { follow } from "./live.js";
import { openAction } from "./parts/dialog.js";
import { topBar } from "./parts/top.js";
import { h, render } from "./render.js";
import { parse } from "./routes.js";
import { announcer } from "./parts/announcer.js";
import * as attack from "./views/attack.js";
import * as attacks from "./views/attacks.js";
import * as caller from "./views/caller.js";
import * as callers from "./views/callers.js";
import * as events from "./views/events.js";
import { loginForm } from "./views/login.js";
import * as models from "./views/models.js";
import * as overview from "./views/overview.js";

const VIEWS = { overview, attacks, attack, callers, caller, models, events };
const PACE = 2000; // ms between two loads of what is shown, however much happens
const SHARE = 4; // times as long as a load took is waited until the next, so that many operators burden no proxy
const PULSE = 2000; // ms between two looks at the traffic
const RETELL = 5000; // ms between two tellings of "3 s ago"
const KINDS = ["hello", "tick", "attack", "action", "access", "configuration", "proxy"];

const top = document.getElementById("top");
const main = document.getElementById("main");
const announce = announcer(document.getElementById("announcer"));

const app = {
  session: null,
  live: null,
  heard: 0,
  route: parse(location.hash),
  data: null,
  problem: "",
  get canAct() {
    return this.session?.role === "operator";
  },
  act(kind, caller, models) {
    openAction(kind, caller, models, () => load());
  },
  retell: () => show(),
};

let stream = null;
let loading = null;
let rested = 0; // when the next load may begin
let due = 0;
let outdated = false; // something happened since the running load began

function show() {
  const view = VIEWS[app.route.view] ?? overview;
  render(top, topBar(app, leave));
  main.classList.toggle("stale", app.session !== null && app.live === false);
  if (!app.session) {
    document.title = "Sign in · tensorwall";
    render(main, [loginForm(app, enter)]);
    if (!document.activeElement.closest("form")) main.querySelector("input").focus();
    return;
  }
  document.title = `${view.title(app.route.params, app.data)} · tensorwall`;
  render(
    main,
    [
      app.problem && h("p", { class: "notice bad", role: "alert", key: "problem" }, app.problem),
      app.data
        ? h("div", { class: "stack", key: app.route.view }, view.show(app))
        : h("p", { class: "quiet", key: "loading" }, "Loading\u2026"),
    ].filter(Boolean),
  );
}

async function load() {
  clearTimeout(due);
  due = 0;
  loading?.abort();
  const own = new AbortController();
  loading = own;
  outdated = false;
  const began = Date.now();
  const view = VIEWS[app.route.view] ?? overview;
  try {
    const data = await view.load(app.route.params, (path, parameters) => api.get(path, parameters, own.signal));
    Object.assign(app, { data, problem: "" });
  } catch (error) {
    if (error.name === "AbortError") return;
    if (!(error instanceof api.ApiError)) throw error;
    if (error.status === 401) return forget();
    if (error.status === 0) stream.doubt();
    app.problem = error.message;
  }
  if (loading === own) loading = null;
  rested = Date.now() + Math.max(PACE, SHARE * (Date.now() - began));
  show();
  if (outdated) refresh();
}

/** Loads what is shown again, soon: everything that happens until then is one load, and a running one is let finish. */
function refresh() {
  if (loading) outdated = true;
  if (due || loading || document.hidden) return;
  due = setTimeout(load, Math.max(0, rested - Date.now()));
}

/** Between loads, what changes all the time. */
async function pulse() {
  const { pulse: look } = VIEWS[app.route.view] ?? overview;
  const known = app.data;
  if (!look || !known || !app.live || document.hidden) return;
  const data = await look(known, api.get).catch(() => known); // the stream notices what is wrong
  if (app.data !== known) return;
  app.data = data;
  show();
}

async function move() {
  const before = app.route;
  app.route = parse(location.hash);
  const elsewhere = before.view !== app.route.view || before.params.id !== app.route.params.id;
  if (!app.session) return show();
  if (elsewhere) Object.assign(app, { data: null, problem: "" });
  if (elsewhere) show();
  await load();
  if (elsewhere) {
    window.scrollTo(0, 0);
    main.focus({ preventScroll: true });
  }
}

function enter(session) {
  app.session = session;
  stream = follow(KINDS, told, (live) => {
    app.live = live;
    show();
    if (live) refresh();
    else api.session().catch((error) => error.status === 401 && forget());
  });
  load();
}

function told(kind, data) {
  app.heard = Date.now();
  if (kind === "attack") announce(data.verdict);
  refresh();
}

function forget() {
  api.forget();
  stream?.end();
  stream = null;
  loading = null;
  Object.assign(app, { session: null, live: null, data: null });
  show();
}

async function leave() {
  await api.logout().catch(() => {});
  forget();
}

window.addEventListener("hashchange", move);
document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault(); // the fragment says which view it is
  main.focus();
});
document.addEventListener("visibilitychange", () => document.hidden || (app.session && refresh()));
setInterval(pulse, PULSE);
setInterval(() => app.session && !document.hidden && show(), RETELL);

if (api.wasSignedIn()) {
  api.session().then(enter, (error) => {
    if (error.status === 401) api.forget();
    else app.problem = error.message;
    show();
  });
} else show();
