// What a server asks of its client: a person answers it here.

import { button, copyOf, made } from "./elements.js";
import { SchemaForm } from "./schema_form.js";

const MOST = 20; // at once; more are refused
const REFUSED = { code: -1, message: "the user of the inspector refused" };
const UNKNOWN = { code: -32601, message: "the inspector does not know this method" };
const TOO_MANY = { code: -32603, message: "the inspector has too many open questions" };

export const CAPABILITIES = { elicitation: { form: {}, url: {} }, sampling: {} };

const open = new Map(); // the cards by their request's id
let titles = 0;

/** ``respond(id, members)`` with the members of a response as JSON; ``ask`` as of SchemaForm. */
export async function take({ id, method, params }, respond, ask) {
  const answer = (members) => {
    if (open.has(id)) forget(id, true);
    respond(id, members);
  };
  const result = (value) => answer({ result: JSON.stringify(value) });
  const refuse = (error) => answer({ error: JSON.stringify(error) });
  if (method === "ping") return result({});
  const build = BUILT[method];
  if (!build) return refuse(UNKNOWN);
  if (open.size >= MOST) return refuse(TOO_MANY);
  const card = copyOf("question");
  const [title, about, form] = card.children;
  title.id = `question-${(titles += 1)}`;
  form.setAttribute("aria-labelledby", title.id);
  open.set(id, card);
  const places = { title, about, form, fields: form.firstElementChild, actions: form.lastElementChild };
  await build(places, params ?? {}, { answer, result, refuse, ask });
  if (open.get(id) !== card) return undefined; // taken back meanwhile
  const place = document.getElementById("asked");
  place.append(card);
  place.hidden = false;
  document.getElementById("news").textContent = `The server asks: ${title.textContent}. ${about.textContent}`;
  return undefined;
}

/** The server needs no answer any more; or, without an id, no server does. */
export function withdraw(id) {
  for (const each of id === undefined ? [...open.keys()] : [id]) if (open.has(each)) forget(each, false);
}

function forget(id, focus) {
  open.get(id).remove();
  open.delete(id);
  const place = document.getElementById("asked");
  place.hidden = open.size === 0;
  if (!focus) return;
  document.getElementById(place.hidden ? "requests-title" : "asked-title").focus();
}

const BUILT = {
  "elicitation/create": (places, params, ways) => (params.mode === "url" ? link : elicitation)(places, params, ways),
  "sampling/createMessage": sampling,
};

async function elicitation({ title, about, fields, actions, form }, params, { answer, result, ask }) {
  title.textContent = "Information is asked for";
  about.textContent = params.message ?? "";
  const schema = new SchemaForm(fields, params.requestedSchema, ask);
  await schema.show();
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const content = await schema.fill();
    if (content !== null) answer({ result: `{"action":"accept","content":${content}}` });
  });
  actions.append(main("Accept"), ...refusals(result));
}

/** Nothing is opened by itself, and nothing looks like what it is not. */
function link({ title, about, fields, actions, form }, params, { result }) {
  title.textContent = "An address is to be opened";
  about.textContent = params.message ?? "";
  fields.append(made("p", { className: "hint", textContent: "Open it yourself if you trust it:" }));
  fields.append(made("pre", { tabIndex: 0, textContent: params.url ?? "" }));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    result({ action: "accept" });
  });
  actions.append(main("Accept"), ...refusals(result));
}

function sampling({ title, about, fields, actions, form }, params, { result, refuse }) {
  title.textContent = "A model is to be asked";
  about.textContent = params.systemPrompt ?? "";
  fields.append(made("pre", { tabIndex: 0, textContent: [params.messages].flat().map(spoken).join("\n\n") }));
  const text = input("textarea", `${title.id}-text`, { rows: 3 });
  const model = input("input", `${title.id}-model`, { type: "text", value: "a-person", autocomplete: "off" });
  fields.append(field("What the model says", text), field("Name of the model", model));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const content = { type: "text", text: text.value };
    result({ role: "assistant", content, model: model.value, stopReason: "endTurn" });
  });
  actions.append(main("Answer"), button("Refuse", () => refuse(REFUSED)));
}

function refusals(result) {
  return [["Decline", "decline"], ["Cancel", "cancel"]].map(([text, action]) => button(text, () => result({ action })));
}

function spoken(message) {
  const parts = [message?.content].flat().map((part) => (part?.type === "text" ? part.text : JSON.stringify(part)));
  return `${message?.role}: ${parts.join("\n")}`;
}

function input(tag, id, options) {
  return made(tag, { id, spellcheck: false, ...options });
}

function field(text, element) {
  return made("div", { className: "field" }, made("label", { htmlFor: element.id, textContent: text }), element);
}

function main(text) {
  return made("button", { type: "submit", className: "main", textContent: text });
}
