// One thing of the configuration: a form of its schema, what a change would do, and the change.

import { address, ask, read, reason } from "./api.js";
import { made } from "./elements.js";
import { tell } from "./fields.js";
import * as namespace from "./namespace.js";
import { SchemaForm } from "./schema_form.js";

const KEY = /\["((?:[^"\\]|\\.)*)"\]|[^.[\]]+/g;

const at = (id) => document.getElementById(id);

export function start() {
  if (at("editor")) new Editor(at("editor").dataset).start();
}

class Editor {
  #tag = "";
  #planned = null; // [method, path, text]

  constructor({ kind, name, key, schema, fields }) {
    Object.assign(this, { kind, name, key, fields, schema: JSON.parse(schema) });
  }

  async start() {
    const { properties } = this.schema;
    if (this.name) {
      const found = await ask("GET", address(this.kind, this.name));
      if (!found.ok) return this.#refused(found);
      this.#tag = found.tag;
      delete properties[this.key];
      this.schema.required = this.schema.required.filter((name) => name !== this.key);
      delete found.document[this.key];
      for (const [name, value] of Object.entries(found.document)) properties[name] = filled(properties[name], value);
    }
    await this.#offer(properties);
    this.form = new SchemaForm(at("edit-fields"), this.schema, (body) => this.#fields(body));
    await this.form.show();
    if (this.kind === "namespaces") await namespace.start(at("edit"), this.name, await names("servers"));
    at("edit").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#propose();
    });
    at("edit").addEventListener("input", () => (at("plan").hidden = true));
    at("delete")?.addEventListener("click", () => this.#plan("DELETE", address(this.kind, this.name), null));
    at("apply").addEventListener("click", () => this.#apply());
    at("reload").addEventListener("click", () => location.reload());
    return undefined;
  }

  /** The namespaces that an endpoint may be for. */
  async #offer({ namespace }) {
    if (namespace) namespace.enum = [...new Set([...(await names("namespaces")), namespace.default ?? []].flat())];
  }

  async #fields(body) {
    const found = await ask("POST", this.fields, { text: JSON.stringify(body) });
    if (!found.ok) throw new Error(reason(found));
    return found.document;
  }

  async #propose() {
    const text = await this.form.fill();
    if (text === null) return;
    if (this.name) await this.#plan("PUT", address(this.kind, this.name), text);
    else await this.#plan("POST", address(this.kind), text);
  }

  /** What would come of it. */
  async #plan(method, path, text) {
    const found = await ask(method, `${path}?dry_run=true`, { text, tag: this.#tag });
    if (!found.ok) return this.#refused(found);
    this.#planned = [method, path, text];
    const { changes, warnings } = found.document;
    const lines = Object.entries(changes).flatMap(([kind, lists]) =>
      Object.entries(lists).flatMap(([how, names]) => names.map((name) => `${kind}: ${name} is ${how}`)));
    const told = list(lines.length ? lines : ["nothing"]);
    this.#show("This would change", "tool-error", [...told, ...list(warnings, "warn")]);
    at("apply").hidden = false;
    at("apply").textContent = method === "DELETE" ? "Delete it" : "Apply it";
    return undefined;
  }

  async #apply() {
    const [method, path, text] = this.#planned;
    at("apply").disabled = true;
    const found = await ask(method, path, { text, tag: this.#tag });
    at("apply").disabled = false;
    if (!found.ok) return this.#refused(found);
    const { text: told, warnings } = found.document;
    this.#show("Done", "result", [made("p", { textContent: told ?? "" }), ...list(warnings, "warn")]);
    at("edit").hidden = true;
    at("onward").hidden = false;
    return undefined;
  }

  /** At the fields that are meant, and all of it above them. */
  #refused({ status, document }) {
    const problems = document.problems ?? [];
    for (const { path, text } of problems) {
      const [key, where] = this.#place(path);
      const input = key && at("edit").elements[`argument:${key}`];
      if (input) tell(input, where ? `${where}: ${text}` : text);
    }
    const words = made("p", { textContent: reason({ status, document }) });
    const told = list(problems.map(({ path, text }) => `${path}: ${text}`));
    this.#show(status === 409 ? "This cannot be done now" : "Refused", "error", [words, ...told]);
    at("reload").hidden = status !== 409;
  }

  /** The key that ``path`` is about, and where within its value; of another thing none. */
  #place(path) {
    const parts = [...path.slice(path.indexOf(": ") + 1).trim().matchAll(KEY)].map(([all, quoted]) => quoted ?? all);
    const own = this.name || at("edit").elements[`argument:${this.key}`]?.value;
    const [, thing, key, ...within] = parts;
    return thing === own || /^\d+$/.test(thing) ? [key ?? this.key, within.join(".")] : ["", ""];
  }

  /** ``look``: as what comes of a call is shown. */
  #show(title, look, content) {
    for (const id of ["apply", "reload", "onward"]) at(id).hidden = true;
    at("plan").hidden = false;
    at("plan").className = `panel outcome-${look}`;
    at("plan-title").textContent = title;
    at("plan-text").replaceChildren(...content);
    at("plan-title").focus();
  }
}

async function names(kind) {
  return ((await read(address(kind))) ?? []).map((it) => it.name);
}

/** A property with what stands there now; also one that the schema does not know, or a value that is no choice. */
function filled(property = {}, value) {
  const known = property.enum && !property.enum.includes(value) ? { enum: [...property.enum, value] } : {};
  return { ...property, ...known, default: value };
}

function list(lines, name = "") {
  if (!lines?.length) return [];
  return [made("ul", { className: name }, ...lines.map((text) => made("li", { textContent: text })))];
}
