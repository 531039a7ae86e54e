// Trees of plain objects, brought onto the page with as few changes as possible: focus, selection and scroll stay.
// Text only ever becomes a text node; there is no way to hand in HTML.

const SVG = "http://www.w3.org/2000/svg";
const PROPERTIES = new Set(["checked", "disabled", "open", "selected", "value"]);
const made = new WeakMap(); // element -> the node that it was made from

/** A node. Props that begin with `on` are listeners, `key` tells siblings apart; null, false and undefined are left out. */
export function h(tag, props, ...children) {
  const kept = children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false);
  return { tag, props: props ?? {}, children: kept };
}

/** Makes the children of `parent` what `nodes` say. What has the focus keeps it, even where it had to move. */
export function render(parent, nodes) {
  const focused = document.activeElement;
  patch(parent, nodes);
  if (focused !== document.activeElement && focused?.isConnected) focused.focus({ preventScroll: true });
}

function patch(parent, nodes) {
  const wantedKeys = new Set(nodes.map((node) => node.props?.key));
  const keyed = new Map();
  for (const child of [...parent.childNodes]) {
    const key = made.get(child)?.props.key;
    if (key === undefined) continue;
    if (wantedKeys.has(key)) keyed.set(key, child);
    else child.remove();
  }
  let at = parent.firstChild;
  for (const node of nodes) {
    const wanted = reusable(node, at, keyed) ?? create(node, parent);
    if (wanted === at) at = at.nextSibling;
    else parent.insertBefore(wanted, at);
    update(wanted, node);
  }
  while (at) {
    const next = at.nextSibling;
    at.remove();
    at = next;
  }
}

function reusable(node, at, keyed) {
  if (typeof node !== "object") return at?.nodeType === Node.TEXT_NODE ? at : null;
  const key = node.props.key;
  const found = key === undefined ? at : keyed.get(key);
  const before = found && made.get(found);
  return before && before.tag === node.tag && before.props.key === key ? found : null;
}

function create(node, parent) {
  if (typeof node !== "object") return document.createTextNode("");
  const space = node.tag === "svg" ? SVG : parent.namespaceURI;
  const element = document.createElementNS(space, node.tag);
  made.set(element, { tag: node.tag, props: { key: node.props.key }, children: [] });
  return element;
}

function update(target, node) {
  if (typeof node !== "object") {
    if (target.data !== String(node)) target.data = String(node);
    return;
  }
  const before = made.get(target).props;
  for (const name of Object.keys(before)) if (!(name in node.props)) set(target, name, null);
  for (const [name, value] of Object.entries(node.props)) if (before[name] !== value) set(target, name, value);
  made.set(target, node);
  patch(target, node.children);
}

function set(element, name, value) {
  if (name === "key") return;
  if (name.startsWith("on") || PROPERTIES.has(name)) {
    element[name] = value ?? (name === "value" ? "" : null);
  } else if (value === null || value === undefined || value === false) {
    element.removeAttribute(name);
  } else {
    element.setAttribute(name, value === true ? "" : value);
  }
}
