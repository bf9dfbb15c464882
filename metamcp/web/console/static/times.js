// Moments in words, which grow old by themselves. Without a script the page shows them in UTC.

import { ago, clock, moment } from "./formats.js";

const EVERY_MS = 1000;

/** Let ``element`` show the moment ``unix`` (seconds) from now on. */
export function tell(element, unix) {
  if (typeof unix !== "number") {
    delete element.dataset.time;
    element.textContent = "";
    return;
  }
  element.dataset.time = unix;
  element.dateTime = new Date(unix * 1000).toISOString();
  element.title = moment(unix);
  refresh(element);
}

function refresh(element) {
  const unix = Number(element.dataset.time);
  const text = "clock" in element.dataset ? clock(unix) : ago(unix);
  if (element.textContent !== text) element.textContent = text;
}

export function start() {
  for (const element of document.querySelectorAll("time[data-time]")) tell(element, Number(element.dataset.time));
  setInterval(() => {
    if (!document.hidden) document.querySelectorAll("time[data-time]:not([data-clock])").forEach(refresh);
  }, EVERY_MS);
}
