// The messages of a session in both directions, as they were sent: the last ones, within a bound.

import { button, copyOf, made } from "./elements.js";
import { bytes } from "./formats.js";
import { setText } from "./records.js";

const MOST = 500;
const MOST_CHARACTERS = 4 * 2 ** 20;
const MOST_SHOWN = 256 * 2 ** 10; // of one message
const DIRECTIONS = { sent: "→ sent", received: "← received" };

let kept = []; // [{element, size}], the oldest first
let size = 0;
let forgotten = 0;

export function start() {
  document.getElementById("messages-clear").addEventListener("click", () => {
    while (kept.length) forget();
    forgotten = 0;
    count();
  });
}

export function add(direction, text) {
  const place = document.getElementById("exchanged");
  const following = place.scrollTop + place.clientHeight >= place.scrollHeight - 8;
  const element = copyOf("exchange");
  const [time, way, what, long] = element.querySelectorAll("summary > *");
  const now = new Date();
  time.dateTime = now.toISOString();
  time.textContent = `${now.toLocaleTimeString("en-GB")}.${String(now.getMilliseconds()).padStart(3, "0")}`;
  way.textContent = DIRECTIONS[direction];
  way.className = direction;
  what.textContent = summary(text);
  long.textContent = bytes(new Blob([text]).size);
  unfold(element.firstElementChild, text);
  place.append(element);
  kept.push({ element, size: text.length });
  size += text.length;
  while (kept.length > MOST || (size > MOST_CHARACTERS && kept.length > 1)) forget(true);
  count();
  if (following) place.scrollTop = place.scrollHeight;
}

function unfold(details, text) {
  details.addEventListener("toggle", () => {
    if (!details.open || details.querySelector("pre")) return;
    const whole = readable(text);
    const pre = made("pre", { tabIndex: 0, textContent: whole.slice(0, MOST_SHOWN) });
    const select = () => getSelection().selectAllChildren(pre); // where the browser does not allow to copy
    details.append(pre);
    if (whole.length > MOST_SHOWN) details.append(made("p", { className: "hint", textContent: "… and more" }));
    details.append(button("Copy", () => navigator.clipboard.writeText(text).catch(select)));
  });
}

/** With line ends, where nothing is lost by it: numbers and names that are there twice do not survive in JavaScript. */
export function readable(text) {
  try {
    const value = JSON.parse(text);
    return JSON.stringify(value) === text ? JSON.stringify(value, null, 2) : text;
  } catch {
    return text;
  }
}

function summary(text) {
  try {
    const { id, method, error, params } = JSON.parse(text);
    const number = id === undefined ? "" : ` #${id}`;
    const about = params?.name ?? params?.uri ?? "";
    if (method) return `${method}${number} ${about}`.trim();
    return `${error ? `error ${error.code}` : "result"}${number}`;
  } catch {
    return "(no message)";
  }
}

function forget(counted = false) {
  const oldest = kept.shift();
  oldest.element.remove();
  size -= oldest.size;
  if (counted) forgotten += 1;
}

function count() {
  const older = forgotten ? `; ${forgotten} older ones were let go` : "";
  const words = `${kept.length} kept, ${bytes(size)} of at most ${MOST} and ${bytes(MOST_CHARACTERS)}${older}`;
  setText(document.getElementById("messages-size"), words);
}
