// Whom a verdict is about, as a link to where more is known.

import { h } from "../render.js";
import { link } from "../routes.js";
import { many, name } from "../text.js";

/** A caller by name; a group or a cluster by what it is. */
export function subject({ id, subject: about, callers }, long = undefined) {
  if (about.kind === "caller" && about.key)
    return h("a", { href: link("caller", { id: about.key }) }, name(about.id, long));
  const size = Object.keys(callers ?? {}).length;
  const text =
    about.kind === "group"
      ? ["the group ", name(about.id, long)]
      : ["a cluster of near rows", size > 0 && ` from ${many(size, "caller")}`];
  return h("a", { href: link("attack", { id }) }, text);
}
