// What an operator does to a caller: asked once, with a reason, and answered with the event that the audit log holds.

import { ApiError, post } from "../api.js";
import { h, render } from "../render.js";
import { moment, name } from "../text.js";

export const ACTIONS = {
  block: {
    name: "Block",
    button: "Block caller",
    danger: true,
    lasts: true,
    says: "Its calls are refused with PERMISSION_DENIED, from the next one on. It is not told why.",
  },
  release: {
    name: "Release",
    button: "Release caller",
    says: "Blocks and verdicts on it end, and what was found so far no longer counts. New evidence does.",
  },
  immunise: {
    name: "Immunise",
    button: "Immunise caller",
    lasts: true,
    says: "Whatever detectors find of it is reported and not acted on. Limits and input rules still hold.",
  },
  end_immunity: {
    name: "End immunity",
    button: "End immunity",
    says: "What detectors find of it is acted on again.",
  },
};

const LASTS = [
  ["3600", "1 hour"],
  ["14400", "4 hours"],
  ["86400", "1 day"],
  ["604800", "1 week"],
  ["", "until it is ended"],
];
const LONGEST_REASON = 500;

/** Opens the dialog for a { key, name }. `models` are those that it can be confined to; `done` hears once it is taken. */
export function openAction(kind, caller, models, done) {
  const dialog = document.getElementById("dialog");
  const state = { busy: false, problem: "", event: null };
  const show = () =>
    render(dialog, [state.event ? taken(kind, state.event, dialog) : form(kind, caller, models, state, dialog, send)]);

  async function send(event) {
    event.preventDefault();
    const given = new FormData(event.target);
    const reason = String(given.get("reason")).trim();
    if (!reason) {
      state.problem = "Say why: the reason stands in the audit log.";
      show();
      document.getElementById("reason").focus();
      return;
    }
    Object.assign(state, { busy: true, problem: "" });
    show();
    try {
      const seconds = given.get("seconds");
      const body = { reason, model: given.get("model") || null, ...(seconds ? { seconds: Number(seconds) } : {}) };
      state.event = await post(`/callers/${encodeURIComponent(caller.key)}/${kind}`, body);
      done();
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      state.problem = error.message;
    }
    state.busy = false;
    show();
    document.getElementById(state.event ? "dialog-close" : "reason").focus();
  }

  show();
  dialog.showModal();
  document.getElementById("reason").focus();
}

function form(kind, caller, models, { busy, problem }, dialog, send) {
  const action = ACTIONS[kind];
  return h(
    "form",
    { key: `${kind} ${caller.key}`, onsubmit: send, novalidate: true },
    h("h2", { id: "dialog-title" }, `${action.name}: `, name(caller.name)),
    h("p", null, action.says),
    models.length > 0 &&
      h(
        "label",
        { class: "field" },
        h("span", null, "For"),
        h(
          "select",
          { name: "model" },
          h("option", { value: "" }, "all models"),
          models.map((model) => h("option", { value: model }, "only ", name(model).children[0])),
        ),
      ),
    action.lasts &&
      h(
        "label",
        { class: "field" },
        h("span", null, "How long"),
        h(
          "select",
          { name: "seconds" },
          LASTS.map(([value, text]) => h("option", { value }, text)),
        ),
      ),
    h(
      "div",
      { class: "field" },
      h("label", { for: "reason" }, "Reason, for the audit log ", h("span", { class: "hint" }, "(required)")),
      h("textarea", {
        id: "reason",
        name: "reason",
        required: true,
        maxlength: LONGEST_REASON,
        "aria-invalid": problem ? "true" : null,
        "aria-describedby": problem ? "dialog-problem" : null,
      }),
    ),
    problem && h("p", { id: "dialog-problem", class: "notice bad", role: "alert" }, problem),
    h(
      "div",
      { class: "actions" },
      h("button", { type: "button", onclick: () => dialog.close() }, "Cancel"),
      h(
        "button",
        { type: "submit", class: action.danger ? "danger" : "main", disabled: busy },
        busy ? "Working\u2026" : action.button,
      ),
    ),
  );
}

function taken(kind, event, dialog) {
  return h(
    "div",
    { class: "done", key: "done" },
    h("h2", { id: "dialog-title" }, "Done, and in the audit log"),
    h("dl", { class: "facts" }, [
      fact("What", event.action),
      fact("Caller", name(event.caller)),
      fact("By", name(event.operator)),
      fact("When", moment(Date.parse(event.time) / 1000)),
      fact("Until", event.until ? moment(Date.parse(event.until) / 1000) : "it is ended"),
      fact("Reason", h("bdi", null, event.reason)),
      fact("Event", h("code", null, event.id)),
    ]),
    h(
      "div",
      { class: "actions" },
      h("button", { id: "dialog-close", class: "main", onclick: () => dialog.close() }, "Close"),
    ),
  );
}

function fact(term, value) {
  return h("div", null, h("dt", null, term), h("dd", null, value));
}
