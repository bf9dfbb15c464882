// What an endpoint offers to a session: lists to choose from, and a form for what was chosen.

import { button, made } from "./elements.js";
import { SchemaForm } from "./schema_form.js";

const MOST_PAGES = 100;

const KINDS = {
  tools: {
    title: "Tools", needs: "tools", list: "tools/list", all: "tools", label: (it) => it.name, do: "Call it",
    schema: (it) => it.inputSchema,
    request: (it, filled) => ["tools/call", { name: JSON.stringify(it.name), arguments: filled }],
  },
  prompts: {
    title: "Prompts", needs: "prompts", list: "prompts/list", all: "prompts", label: (it) => it.name, do: "Get it",
    schema: (it) => texts(it.arguments ?? []),
    request: (it, filled) => ["prompts/get", { name: JSON.stringify(it.name), arguments: filled }],
  },
  resources: {
    title: "Resources", needs: "resources", list: "resources/list", all: "resources", label: (it) => it.uri,
    do: "Read it",
    schema: () => null,
    request: (it) => ["resources/read", { uri: JSON.stringify(it.uri) }],
  },
  templates: {
    title: "Templates of resources", needs: "resources", list: "resources/templates/list", all: "resourceTemplates",
    label: (it) => it.uriTemplate, do: "Read it",
    schema: (it) => texts([{ name: "uri", required: true, value: it.uriTemplate }]),
    request: (it, filled) => ["resources/read", { uri: JSON.stringify(JSON.parse(filled).uri) }],
  },
};
const CHANGED = { tools: ["tools"], prompts: ["prompts"], resources: ["resources", "templates"] };

/** The arguments of a prompt are texts. */
function texts(described) {
  const properties = described.map(({ name, title, description, value }) => [
    name, { type: "string", title, description, default: value },
  ]);
  const required = described.filter((it) => it.required).map((it) => it.name);
  return { type: "object", properties: Object.fromEntries(properties), required };
}

export class Offered {
  #lists = {};
  #chosen = null; // {kind, record, form}

  /** ``client``; ``capabilities`` of the server; ``ask`` as of SchemaForm; ``perform(title, method, members)``. */
  constructor(client, capabilities, ask, perform) {
    Object.assign(this, { client, capabilities, ask, perform });
    document.getElementById("filter").oninput = () => this.#filter();
    document.getElementById("ask").onsubmit = (event) => this.#submit(event);
  }

  async list(kinds = Object.keys(KINDS)) {
    for (const kind of kinds) {
      if (KINDS[kind].needs in this.capabilities) this.#lists[kind] = await this.#all(KINDS[kind]);
    }
    this.#show();
  }

  /** ``method``: ``notifications/tools/list_changed`` and the like. */
  changed(method) {
    const kinds = CHANGED[method.split("/")[1]];
    return method.endsWith("/list_changed") && kinds ? this.list(kinds) : null;
  }

  async #all({ list, all }) {
    const found = [];
    let cursor;
    for (let pages = 0; pages < MOST_PAGES; pages += 1) {
      const members = cursor === undefined ? {} : { cursor: JSON.stringify(cursor) };
      const { result } = await this.client.request(list, members).answer;
      found.push(...(Array.isArray(result[all]) ? result[all] : []));
      cursor = result.nextCursor;
      if (cursor === undefined) break;
    }
    return found;
  }

  #show() {
    const groups = Object.entries(this.#lists).filter(([, records]) => records.length).map(([kind, records]) => {
      const text = `${KINDS[kind].title} ${records.length}`;
      const title = made("h3", { className: "hint", textContent: text, id: `offered-${kind}` });
      const items = records.map((record) => made("li", {}, this.#button(kind, record)));
      return made("div", { className: "group" }, title, made("ul", { aria: { labelledby: title.id } }, ...items));
    });
    document.getElementById("offered").replaceChildren(...groups);
    this.#filter();
  }

  #button(kind, record) {
    const name = KINDS[kind].label(record);
    const element = button(name, () => this.#choose(kind, record, element));
    element.className = "mono";
    element.dataset.kind = kind;
    const { kind: former, record: chosen } = this.#chosen ?? {};
    if (former === kind && KINDS[kind].label(chosen) === name) element.ariaCurrent = "true";
    return element;
  }

  #filter() {
    const wanted = document.getElementById("filter").value.toLowerCase();
    let shown = 0;
    for (const group of document.querySelectorAll("#offered .group")) {
      const items = [...group.querySelectorAll("li")];
      for (const item of items) item.hidden = !item.textContent.toLowerCase().includes(wanted);
      const left = items.filter((item) => !item.hidden).length;
      group.hidden = left === 0;
      shown += left;
    }
    document.getElementById("nothing").hidden = shown > 0;
  }

  async #choose(kind, record, element) {
    for (const each of document.querySelectorAll("#offered [aria-current]")) each.ariaCurrent = null;
    element.ariaCurrent = "true";
    const { label, schema, do: action } = KINDS[kind];
    const form = document.getElementById("ask");
    const title = document.getElementById("chosen-title");
    const wanted = schema(record);
    const fields = wanted === null ? null : new SchemaForm(document.getElementById("ask-fields"), wanted, this.ask);
    const chosen = { kind, record, fields };
    this.#chosen = chosen;
    title.textContent = label(record);
    document.getElementById("chosen-name").textContent = record.title ?? (record.name === label(record) ? "" : record.name);
    document.getElementById("chosen-about").textContent = record.description ?? "";
    document.getElementById("ask-fields").replaceChildren();
    form.querySelector(":scope > button").textContent = action;
    await fields?.show();
    if (this.#chosen !== chosen) return; // something else was chosen meanwhile
    form.hidden = false;
    title.focus();
  }

  async #submit(event) {
    event.preventDefault();
    const { kind, record, fields } = this.#chosen;
    const filled = fields ? await fields.fill() : "{}";
    if (filled === null) return;
    const [method, members] = KINDS[kind].request(record, filled);
    this.perform(KINDS[kind].label(record), method, members);
  }
}
