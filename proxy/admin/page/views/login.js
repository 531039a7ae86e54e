// Signing in with an operator's token.

import { ApiError, login } from "../api.js";
import { h } from "../render.js";

let problem = "";

/** The form; `enter` gets the session. */
export function loginForm(app, enter) {
  const said = problem || app.problem;
  return h(
    "section",
    { class: "sheet login", "aria-labelledby": "login-title", key: "login" },
    h("header", null, h("h1", { id: "login-title" }, "Sign in")),
    h(
      "form",
      { onsubmit: (event) => send(event, app, enter) },
      h(
        "label",
        { class: "field" },
        h("span", null, "Operator token"),
        h("input", { name: "token", type: "password", autocomplete: "current-password", required: true }),
      ),
      said && h("p", { class: "notice bad", role: "alert" }, said),
      h("button", { class: "main", type: "submit" }, "Sign in"),
      h("p", { class: "small quiet" }, "Viewers see everything; operators also block, release and immunise callers."),
    ),
  );
}

async function send(event, app, enter) {
  event.preventDefault();
  const form = event.target;
  problem = "";
  app.problem = "";
  try {
    const session = await login(new FormData(form).get("token"));
    form.reset();
    enter(session);
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    problem = error.status === 401 ? "That token is not valid." : error.message;
    app.retell();
  }
}
