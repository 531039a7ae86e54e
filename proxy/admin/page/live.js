// The stream of events: always one connection, tried again and again, and never silently out of date.

import { STREAM } from "./api.js";

const STALE_SECONDS = 12; // the server says something every five
const FIRST_WAIT = 1;
const LONGEST_WAIT = 20;

/**
 * Follows the stream until closed.
 *
 * `kinds` are the events that are wanted. `told(kind, data)` hears of each; `changed(live)` hears true once a connection
 * is up, and false whenever one is lost or cannot be had. Returns { doubt, end }: `doubt` drops a connection that seems
 * dead and tries again, `end` ends all.
 */
export function follow(kinds, told, changed) {
  let source = null;
  let wait = FIRST_WAIT;
  let heard = 0;
  let up = false;
  let timer = 0;
  let ended = false;

  function open() {
    source?.close();
    heard = Date.now();
    source = new EventSource(STREAM);
    source.onopen = () => hear();
    source.onerror = () => again();
    for (const kind of kinds) {
      source.addEventListener(kind, (event) => {
        hear();
        told(kind, event.data ? JSON.parse(event.data) : null);
      });
    }
  }

  function hear() {
    heard = Date.now();
    wait = FIRST_WAIT;
    if (!up) changed(true);
    up = true;
  }

  function again() {
    source?.close();
    source = null;
    clearTimeout(timer);
    if (ended) return;
    up = false;
    changed(false);
    timer = setTimeout(open, wait * 1000 * (0.75 + Math.random() / 2));
    wait = Math.min(LONGEST_WAIT, wait * 2);
  }

  const watch = setInterval(() => {
    if (source && Date.now() - heard > STALE_SECONDS * 1000) again();
  }, 1000);
  open();

  return {
    doubt: () => source && again(),
    end() {
      ended = true;
      clearInterval(watch);
      clearTimeout(timer);
      source?.close();
    },
  };
}
