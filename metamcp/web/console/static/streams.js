// Streams of the gateway, for as long as somebody looks: a browser has few connections to one address.

import { setText } from "./records.js";

const AGAIN_MS = 2000;

/** Follow ``address()``; ``handlers`` by the name of the event. Opened anew when it ends, and closed while the page is not
    seen. ``onOpen`` is called with each connection that was made. */
export function follow(address, handlers, onOpen = () => {}) {
  let source = null;
  let timer = 0;

  function open() {
    clearTimeout(timer);
    if (source || document.hidden) return;
    source = new EventSource(address());
    source.onopen = () => {
      connected(true);
      onOpen();
    };
    source.onerror = lost;
    for (const [name, handler] of Object.entries(handlers)) source.addEventListener(name, handler);
  }

  function close() {
    clearTimeout(timer);
    source?.close();
    source = null;
  }

  async function lost() {
    connected(false);
    if (source.readyState !== EventSource.CLOSED) return; // the browser itself tries again
    close();
    if (await signedOut()) location.reload();
    else timer = setTimeout(open, AGAIN_MS);
  }

  document.addEventListener("visibilitychange", () => (document.hidden ? close() : open()));
  addEventListener("pagehide", close);
  addEventListener("pageshow", open);
  open();
}

/** The key was revoked, or the time is over. */
async function signedOut() {
  try {
    const answer = await fetch("/api/status", { headers: { Accept: "application/json" } });
    return answer.status === 401 || answer.status === 403;
  } catch {
    return false; // nobody answers
  }
}

function connected(is) {
  const place = document.getElementById("connection");
  if (!place) return;
  place.hidden = false;
  place.dataset.state = is ? "live" : "lost";
  setText(place, is ? "live" : "connecting …");
}
