// A client of MCP over Streamable HTTP (2025-11-25, Transports). It composes and keeps messages as text: numbers that
// JavaScript does not know go to the server, and come into the page, as they were written.

import { events } from "./event_stream.js";

const AGAIN_MS = 1000;
const MOST_TRIES = 5; // for one stream, without a message
const CANCELLED = "notifications/cancelled";

/** What the other side, or the way there, has to say against a request. */
export class Refused extends Error {}

/** A JSON object of members whose values are JSON already. */
export function object(members) {
  return `{${Object.entries(members).map(([name, text]) => `${JSON.stringify(name)}:${text}`).join(",")}}`;
}

/** ``heard``: ``message(direction, text)`` of every message, ``asked(message)``, ``told(message)``, ``progress(params)``,
    and ``lost(text)`` once when there is no session any more. */
export class Client {
  session = "";
  #serial = 0;
  #waiting = new Map(); // by the id of the request
  #over = new AbortController();

  constructor(address, token, revision, heard) {
    this.address = address;
    this.token = token;
    this.revision = revision;
    this.heard = heard;
  }

  get closed() {
    return this.#over.signal.aborted;
  }

  /** The handshake; what ``initialize`` returned. */
  async open(clientInfo, capabilities) {
    const hello = { protocolVersion: this.revision, capabilities, clientInfo };
    const members = Object.fromEntries(Object.entries(hello).map(([name, value]) => [name, JSON.stringify(value)]));
    const { result } = await this.request("initialize", members).answer;
    this.revision = result.protocolVersion;
    await this.notify("notifications/initialized");
    this.#listen();
    return result;
  }

  /** ``members``: those of the params as JSON. Gives the id and a promise of ``{result, text}``, which fails with Refused;
      ``text`` is the whole response. */
  request(method, members = {}, { progress = false } = {}) {
    const id = this.nextId();
    const params = object(progress ? { ...members, _meta: `{"progressToken":${id}}` } : members);
    return { id, answer: this.send(object({ jsonrpc: '"2.0"', id, method: JSON.stringify(method), params }), id) };
  }

  notify(method, params = {}) {
    return this.send(JSON.stringify({ jsonrpc: "2.0", method, params }));
  }

  /** Nobody waits for the response any more; the server may stop working on it. */
  cancel(id, reason) {
    this.#refuse(id, "cancelled");
    return this.notify(CANCELLED, { requestId: id, reason });
  }

  respond(id, members) {
    return this.send(object({ jsonrpc: '"2.0"', id: JSON.stringify(id), ...members }));
  }

  nextId() {
    return (this.#serial += 1);
  }

  /** One message; with the ``id`` of a request, a promise of its response. */
  async send(text, id = null) {
    this.heard.message("sent", text);
    if (id === null) return this.#post(text, null);
    const answer = new Promise((resolve, reject) => this.#waiting.set(id, { resolve, reject }));
    this.#post(text, id).catch((error) => this.#refuse(id, error.message));
    return answer;
  }

  async close() {
    if (this.closed) return;
    this.#end("the session was ended");
    if (this.session) await fetch(this.address, { method: "DELETE", headers: this.#headers(), keepalive: true });
  }

  async #post(text, id) {
    const answer = await fetch(this.address, {
      method: "POST",
      headers: { ...this.#headers(), "Content-Type": "application/json" },
      body: text,
      signal: this.#over.signal,
    });
    this.session = answer.headers.get("Mcp-Session-Id") ?? this.session;
    if (answer.status === 202) return;
    if (isStream(answer)) await this.#read(answer, () => !this.#waiting.has(id));
    else if (isJson(answer)) this.#take(await answer.text(), id, answer.ok);
    else throw new Refused(`answer ${answer.status}`);
    if (answer.status === 404 && this.session) this.#end("the gateway knows this session no more");
    else if (id !== null) this.#refuse(id, "the stream ended without a response");
  }

  /** Messages that belong to no request, for as long as there is a session. */
  async #listen() {
    await this.#read(null, () => false).catch((error) => this.closed || this.#end(error.message));
  }

  /** The messages of ``answer``, null for the stream of those that belong to no request, and what follows where it was
      lost, until it is ``enough``. */
  async #read(answer, enough) {
    const listening = answer === null;
    let last = "";
    for (let tries = 0; tries < MOST_TRIES; tries += 1) {
      try {
        const stream = answer ?? (await this.#get(last));
        answer = null;
        if (listening) tries = 0;
        for await (const { id, data } of events(stream.body)) {
          last = id || last;
          if (!data) continue;
          tries = 0;
          this.#take(data, null, true);
        }
      } catch (error) {
        if (error instanceof Refused || this.closed) throw error;
      }
      if (enough() || this.closed || !(listening || last)) return;
      await new Promise((resolve) => setTimeout(resolve, AGAIN_MS));
    }
    throw new Refused("the gateway does not answer");
  }

  async #get(last) {
    const headers = { ...this.#headers(), Accept: "text/event-stream, application/json" };
    if (last) headers["Last-Event-ID"] = last;
    const answer = await fetch(this.address, { headers, signal: this.#over.signal });
    if (isStream(answer)) return answer;
    if (answer.redirected) throw new Refused("nobody is signed in any more: load the page anew");
    const error = isJson(answer) ? (await answer.json()).error?.message : "";
    throw new Refused(error || `no stream: answer ${answer.status}`);
  }

  #headers() {
    const headers = {
      Accept: "application/json, text/event-stream",
      "MCP-Protocol-Version": this.revision,
      "X-CSRF-Token": this.token,
    };
    return this.session ? { ...headers, "Mcp-Session-Id": this.session } : headers;
  }

  /** ``posted``: the id of the request that this answers, where an error names none. */
  #take(text, posted, ok) {
    this.heard.message("received", text);
    const message = parsed(text);
    if ("method" in message) {
      if ("id" in message) this.heard.asked(message);
      else if (message.method === "notifications/progress") this.heard.progress(message.params);
      else this.heard.told(message);
      return;
    }
    const id = message.id ?? posted;
    if (message.error) this.#refuse(id, `Error ${message.error.code}: ${message.error.message}`, ok);
    else this.#settle(id)?.resolve({ result: message.result, text });
  }

  #refuse(id, text, quiet = true) {
    const waiting = this.#settle(id);
    if (waiting) waiting.reject(new Refused(text));
    else if (!quiet) throw new Refused(text); // of a message that nobody waits for
  }

  #settle(id) {
    const waiting = this.#waiting.get(id);
    this.#waiting.delete(id);
    return waiting;
  }

  #end(text) {
    if (this.closed) return;
    this.#over.abort();
    for (const id of [...this.#waiting.keys()]) this.#refuse(id, text);
    this.heard.lost(text);
  }
}

/** What is no message is shown, and means nothing; halves of surrogate pairs, which are no text, are replaced. */
function parsed(text) {
  try {
    return Object(JSON.parse(text, (_name, value) => (typeof value === "string" ? value.toWellFormed() : value)));
  } catch {
    return {};
  }
}

const kindOf = (answer) => answer.headers.get("Content-Type") ?? "";
const isStream = (answer) => kindOf(answer).startsWith("text/event-stream");
const isJson = (answer) => kindOf(answer).startsWith("application/json");
