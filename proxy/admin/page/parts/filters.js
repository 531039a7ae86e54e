// Filters above a table; what is chosen is part of the address.

import { h } from "../render.js";
import { link } from "../routes.js";
import { short } from "../text.js";

const TYPING = 300; // ms after the last letter

let typing = 0;

/**
 * A form of filters. `fields` are [{ key, title, options: [[value, text]] }], or without options a search field.
 */
export function filters(view, params, fields) {
  const go = (form) => {
    const given = Object.fromEntries(new FormData(form));
    location.hash = link(view, { ...params, ...given, page: "" });
  };
  const choose = (event) => event.target.form && go(event.target.form);
  const type = (event) => {
    clearTimeout(typing);
    typing = setTimeout(() => event.target.isConnected && go(event.target.form), TYPING);
  };
  const submit = (event) => {
    event.preventDefault();
    clearTimeout(typing);
    go(event.target);
  };
  return h(
    "form",
    { class: "filters", role: "search", key: "filters", onsubmit: submit },
    fields.map((field) => control(field, params, choose, type)),
  );
}

function control({ key, title, options }, params, choose, type) {
  const value = params[key] ?? "";
  if (!options) {
    return h(
      "label",
      { class: "field grow", key },
      h("span", null, title),
      h("input", {
        type: "search",
        name: key,
        value,
        autocomplete: "off",
        spellcheck: "false",
        maxlength: 256,
        oninput: type,
      }),
    );
  }
  return h(
    "label",
    { class: "field", key },
    h("span", null, title),
    h(
      "select",
      { name: key, onchange: choose },
      options.map(([each, text]) => h("option", { key: each, value: each, selected: each === value }, text)),
    ),
  );
}

/** Options of a filter by model. */
export function modelOptions(names) {
  return [["", "all models"], ...names.map((each) => [each, short(each, 40)])];
}
