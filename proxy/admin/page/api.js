// The admin API, as this page uses it: JSON over the session's cookie, and its CSRF token on whatever changes something.

const BASE = "/api/v1";
const SIGNED_IN = "tensorwall-signed-in";
let csrf = "";

/** An answer that is no success. `status` is 0 if there was none at all. */
export class ApiError extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

/** Whether there may be a session: its cookie is not for scripts, and asking without one is an error on the console. */
export function wasSignedIn() {
  return localStorage.getItem(SIGNED_IN) !== null;
}

/** The operator's session; rejects with status 401 without one. */
export async function session() {
  return remember(await get("/session"));
}

/** Opens a session with an operator's token. */
export async function login(token) {
  return remember(await post("/login", { token }));
}

/** Ends the session. */
export async function logout() {
  await post("/logout", {});
  forget();
}

/** The session is over. */
export function forget() {
  csrf = "";
  localStorage.removeItem(SIGNED_IN);
}

/** GET of a path, with parameters; empty ones are left out. */
export function get(path, parameters = {}, signal = undefined) {
  const given = Object.entries(parameters).filter(([, value]) => value !== "" && value !== undefined && value !== null);
  const query = new URLSearchParams(given).toString();
  return ask(query ? `${path}?${query}` : path, { signal });
}

/** POST of a JSON body. */
export function post(path, body) {
  const headers = { "Content-Type": "application/json", "X-CSRF-Token": csrf };
  return ask(path, { method: "POST", headers, body: JSON.stringify(body) });
}

/** Where the stream of events is. */
export const STREAM = `${BASE}/stream`;

function remember(found) {
  csrf = found.csrf ?? "";
  localStorage.setItem(SIGNED_IN, "yes");
  return found;
}

async function ask(path, options) {
  let answer;
  try {
    answer = await fetch(BASE + path, { credentials: "same-origin", cache: "no-store", ...options });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError(0, "The proxy does not answer.");
  }
  const text = await answer.text();
  const body = text.startsWith("{") ? JSON.parse(text) : { error: text };
  if (!answer.ok) throw new ApiError(answer.status, sentence(body.error) || `The proxy answered ${answer.status}.`);
  return body;
}

function sentence(text) {
  const said = (text ?? "").trim();
  return said && `${said[0].toUpperCase()}${said.slice(1)}${/[.!?]$/.test(said) ? "" : "."}`;
}
