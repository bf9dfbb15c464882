// The inspector: a session of this page with an endpoint.

import { say } from "./actions.js";
import * as answers from "./answers.js";
import { made } from "./elements.js";
import * as exchanged from "./exchanged.js";
import { Client } from "./mcp_client.js";
import { Offered } from "./offered.js";
import * as questions from "./questions.js";

const MOST_LOGGED = 500;
const REASON = "the user of the inspector cancelled it";
const STATES = {
  none: ["IDLE", "no session"], opening: ["STARTING", "opening …"], open: ["READY", "open"], ended: ["IDLE", "ended"],
};

const at = (id) => document.getElementById(id);

export function start() {
  const place = at("inspector");
  if (!place) return;
  const token = document.querySelector('meta[name="csrf-token"]').content;
  let client = null;
  let offered = null;
  exchanged.start();

  /** Of ``/console/fields``. */
  async function ask(body) {
    const answer = await fetch(place.dataset.fields, {
      method: "POST",
      headers: { Accept: "application/json", "Content-Type": "application/json", "X-CSRF-Token": token },
      body: JSON.stringify(body),
    });
    if (answer.ok) return answer.json();
    throw new Error((await answer.json()).error?.message ?? `answer ${answer.status}`);
  }

  const heard = {
    message: exchanged.add,
    progress: answers.progress,
    asked: (message) => questions.take(message, (id, members) => quietly(client.respond(id, members)), ask).catch(fail),
    told: ({ method, params }) => {
      if (method === "notifications/message") log(params ?? {});
      else if (method === "notifications/cancelled") questions.withdraw(params?.requestId);
      else quietly(offered?.changed(method));
    },
    lost: (text) => {
      questions.withdraw();
      show("ended");
      say(`No session any more: ${text}.`, text === "the session was ended");
    },
  };

  async function open() {
    show("opening");
    client = new Client(place.dataset.messages, token, at("revision").value, heard);
    const [name, version] = place.dataset.client.split(" ");
    try {
      const told = await client.open({ name, version }, questions.CAPABILITIES);
      describe(client, told);
      show("open");
      at("session-title").focus();
      offered = new Offered(client, told.capabilities ?? {}, ask, perform);
      await offered.list();
    } catch (error) {
      fail(error);
      if (!client.session) show("none");
    }
  }

  function perform(title, method, members = {}) {
    if (answers.full()) {
      say("Too many requests are under way: wait for one, or cancel it.", false);
      return;
    }
    const asked = client.request(method, members, { progress: true });
    answers.show(`${method} ${title}`, asked, (id) => quietly(client.cancel(id, REASON)));
  }

  at("open").addEventListener("submit", (event) => {
    event.preventDefault();
    open();
  });
  at("ping").addEventListener("click", () => perform("", "ping"));
  at("relist").addEventListener("click", () => quietly(offered.list()));
  at("end").addEventListener("click", () => quietly(client.close()));
  at("level").addEventListener("change", ({ target }) => {
    if (target.value) perform(target.value, "logging/setLevel", { level: JSON.stringify(target.value) });
  });
  at("own").addEventListener("submit", (event) => {
    event.preventDefault();
    quietly(sendOwn(client));
  });
  addEventListener("pagehide", () => client?.close());
}

/** What the user wrote, with what makes it a message. */
async function sendOwn(client) {
  const written = JSON.parse(at("own-text").value);
  if (!client || client.closed) throw new Error("open a session first");
  const isRequest = "method" in written && !String(written.method).startsWith("notifications/");
  const message = { jsonrpc: "2.0", ...(isRequest ? { id: client.nextId() } : {}), ...written };
  const answer = client.send(JSON.stringify(message), isRequest ? message.id : null);
  if (!isRequest) return answer;
  const asked = { id: message.id, answer };
  return answers.show(String(message.method), asked, (id) => quietly(client.cancel(id, REASON)));
}

function describe(client, told) {
  const { name, title, version } = told.serverInfo ?? {};
  at("session-id").textContent = client.session;
  at("session-revision").textContent = told.protocolVersion;
  at("session-server").textContent = [title ?? name, version].filter(Boolean).join(" ");
  at("session-capabilities").textContent = Object.keys(told.capabilities ?? {}).join(", ") || "nothing";
  at("session-instructions").textContent = told.instructions ?? "";
  at("session-told").hidden = !told.instructions;
  at("logging").hidden = !("logging" in (told.capabilities ?? {}));
  at("level").value = "";
}

/** Only what can be done now is there to be done. */
function show(state) {
  const [look, text] = STATES[state];
  const shown = at("session-state");
  shown.dataset.state = look;
  shown.textContent = text;
  at("open").hidden = state === "opening" || state === "open";
  at("opened").hidden = at("inspected").hidden = state !== "open";
}

function log({ level, logger, data }) {
  const place = at("logged");
  const text = typeof data === "string" ? data : JSON.stringify(data);
  const now = new Date();
  const time = made("time", { dateTime: now.toISOString(), textContent: now.toLocaleTimeString("en-GB") });
  const from = made("span", { className: "from", textContent: [level, logger].filter(Boolean).join(" ") });
  place.append(made("li", {}, time, " ", from, " ", made("span", { className: "text", textContent: text ?? "" })));
  while (place.childElementCount > MOST_LOGGED) place.firstElementChild.remove();
  at("logs").hidden = false;
  at("logged-size").textContent = `the last ${place.childElementCount}`;
  place.scrollTop = place.scrollHeight;
}

/** What nobody waits for says at least why it failed. */
function quietly(promise) {
  Promise.resolve(promise).catch(fail);
}

function fail(error) {
  if (error.name !== "AbortError") say(error.message, false);
}
