// What a server writes to its standard error, line by line. After a lost connection only what came meanwhile is sent.

import { follow } from "./streams.js";
import { tell } from "./times.js";

const MOST_LINES = 1000;

export function start() {
  const place = document.getElementById("stderr");
  if (!place) return;
  const address = `/api/servers/${encodeURIComponent(place.dataset.server)}/stderr`;
  let last = 0;
  let first = true;

  function onLine(event) {
    const number = Number(event.lastEventId);
    if (number <= last) return; // seen before the stream was opened anew
    if (first) place.replaceChildren(); // the same lines were in the page, without their numbers
    first = false;
    last = number;
    const following = document.getElementById("follow").checked;
    place.append(made(JSON.parse(event.data)));
    while (place.childElementCount > MOST_LINES) place.firstElementChild.remove();
    document.getElementById("no-stderr").hidden = true;
    if (following) place.scrollTop = place.scrollHeight;
  }

  follow(() => address, { message: onLine });
}

function made(record) {
  const line = document.createElement("li");
  const time = document.createElement("time");
  time.dataset.clock = "";
  tell(time, record.time);
  line.append(time, " ", span("from", record.session ?? "", record.container ?? ""), " ", span("text", record.line));
  return line;
}

function span(name, text, title = "") {
  const element = document.createElement("span");
  element.className = name;
  element.textContent = text;
  if (title) element.title = title;
  return element;
}
