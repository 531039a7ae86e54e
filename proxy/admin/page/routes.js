// Where on the page one is, as the fragment of its address: #/callers?model=fashion&page=2

/** { view, params } of an address's fragment. */
export function parse(fragment) {
  const [path, query] = fragment.replace(/^#\/?/, "").split("?", 2);
  return { view: path || "overview", params: Object.fromEntries(new URLSearchParams(query ?? "")) };
}

/** The fragment of a view with parameters; empty ones are left out. */
export function link(view, params = {}) {
  const given = Object.entries(params).filter(([, value]) => value !== "" && value !== undefined && value !== null);
  const query = new URLSearchParams(given).toString();
  return `#/${view === "overview" ? "" : view}${query ? `?${query}` : ""}`;
}
