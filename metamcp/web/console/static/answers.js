// Requests of the inspector: each with its progress, a way to cancel it, and what came of it.

import { copyOf, made } from "./elements.js";
import { readable } from "./exchanged.js";
import { seconds } from "./formats.js";

const MOST = 30;
const MOST_RUNNING = 4; // a browser has six connections to one address, and answers to servers need one
const OUTCOMES = { result: "result", "tool-error": "the tool reports an error", error: "error" };

const running = new Map(); // by the progress token

/** Has one to be over before there can be another? */
export function full() {
  return running.size >= MOST_RUNNING;
}

/** ``asked`` as ``Client.request`` gives it; ``cancel(id)`` tells the server. */
export async function show(title, asked, cancel) {
  const card = copyOf("request");
  const place = document.getElementById("requests");
  const begun = performance.now();
  const stop = card.querySelector("button");
  card.querySelector("h3").textContent = title;
  stop.querySelector(".away").textContent = ` ${title}`;
  stop.addEventListener("click", () => {
    stop.disabled = true;
    cancel(asked.id);
  });
  place.prepend(card);
  while (place.childElementCount > MOST) place.lastElementChild.remove();
  document.getElementById("no-requests").hidden = true;
  running.set(asked.id, card);
  try {
    const { result, text } = await asked.answer;
    over(card, result.isError === true ? "tool-error" : "result", begun, blocks(result), readable(text));
  } catch (error) {
    over(card, "error", begun, [["", error.message]], "");
  } finally {
    running.delete(asked.id);
  }
}

export function progress({ progressToken, progress: done, total, message }) {
  const place = running.get(progressToken)?.querySelector(".progress");
  if (!place) return;
  const bar = place.querySelector("progress");
  place.hidden = false;
  if (typeof total === "number" && total > 0) [bar.max, bar.value] = [total, Math.min(Number(done), total)];
  place.querySelector(".hint").textContent = `${done}${total === undefined ? "" : ` of ${total}`} ${message ?? ""}`;
}

function over(card, outcome, begun, content, raw) {
  const state = card.querySelector(".outcome");
  state.dataset.state = outcome;
  state.textContent = OUTCOMES[outcome];
  card.querySelector(".since").textContent = `after ${seconds((performance.now() - begun) / 1000)}`;
  card.querySelector("button").remove();
  const shown = content.flatMap(([kind, text]) => [
    ...(kind ? [made("h4", { className: "hint", textContent: kind })] : []),
    made("pre", { tabIndex: 0, textContent: text }),
  ]);
  if (raw) {
    const whole = made("details", {}, made("summary", { textContent: "The whole response" }));
    whole.append(made("pre", { tabIndex: 0, textContent: raw }));
    shown.push(whole);
  }
  card.querySelector(".answer").replaceChildren(...shown);
  document.getElementById("news").textContent = `${card.querySelector("h3").textContent}: ${OUTCOMES[outcome]}`;
}

/** Of each part what it is, and its text: content of a tool, messages of a prompt, contents of a resource. */
function blocks(result) {
  const found = [...list(result.content).map(block)];
  for (const { role, content } of list(result.messages)) {
    for (const [kind, text] of [content].flat().map(block)) found.push([`${role}: ${kind}`, text]);
  }
  for (const resource of list(result.contents)) found.push(block({ type: "resource", resource }));
  if (result.structuredContent !== undefined) found.push(["structured content", pretty(result.structuredContent)]);
  return found;
}

/** As ``try_it.py`` shows one. */
function block(it) {
  if (it?.type === "text") return ["text", String(it.text)];
  if (it?.type === "image" || it?.type === "audio") {
    return [`${it.type} (${it.mimeType})`, `${String(it.data ?? "").length} characters of Base64`];
  }
  if (it?.type === "resource_link") return ["link to a resource", String(it.uri)];
  if (it?.type === "resource") return [`resource ${it.resource?.uri}`, String(it.resource?.text ?? "(binary)")];
  return ["other", pretty(it)];
}

const list = (value) => (Array.isArray(value) ? value : []);
const pretty = (value) => JSON.stringify(value, null, 2);
