// The fields of a schema, as the console decides on them (tool_form.py), in a form that a script has made.

import { made } from "./elements.js";
import { readable } from "./exchanged.js";
import { tell, watch } from "./fields.js";

let forms = 0;

export class SchemaForm {
  #id = `schema-${(forms += 1)}`;
  #inputs = [];

  /** ``ask(body)``: what the route of the fields answers. */
  constructor(place, schema, ask) {
    this.place = place;
    this.schema = schema;
    this.ask = ask;
  }

  async show() {
    const { fields } = await this.ask({ schema: this.schema });
    this.place.replaceChildren(...fields.map((field, index) => this.#field(field, `${this.#id}-${index}`)));
    if (this.#isObject()) this.place.append(this.#whole(fields.length > 0));
  }

  /** The object that was filled in, as JSON; null when something is wrong with it, which is told. */
  async fill() {
    const sent = Object.fromEntries(this.#inputs.map((input) => [input.name, input.value]));
    const filled = await this.ask({ schema: this.schema, sent });
    const problems = [...filled.fields.map((field) => field.problem), filled.problem];
    this.#inputs.forEach((input, index) => tell(input, problems[index] ?? ""));
    const wrong = this.#inputs.find((input) => input.ariaInvalid === "true");
    wrong?.closest("details")?.setAttribute("open", "");
    wrong?.focus();
    return filled.arguments;
  }

  #isObject() {
    return ["object", undefined].includes(this.schema?.type);
  }

  #field(field, id) {
    const input = INPUTS[field.kind](field);
    const label = made("label", { htmlFor: id }, field.label, " ");
    if (field.required) label.append(made("span", { className: "required", textContent: "required" }), " ");
    label.append(made("span", { className: "hint", textContent: WORDS[field.kind] ?? `JSON ${field.shape}` }));
    const about = made("p", { className: "hint", id: `${id}-about`, textContent: field.description });
    const told = field.description ? [about] : [];
    return made("div", { className: "field" }, label, ...told, ...this.#take(input, field, id));
  }

  #whole(folded) {
    const id = `${this.#id}-whole`;
    const input = area({ kind: "json", shape: "object", value: "" }, 5);
    const label = made("label", { htmlFor: id }, folded ? "Instead of the fields above " : "The whole ");
    label.append(made("span", { className: "hint", textContent: "JSON object" }));
    const summary = made("summary", { textContent: "All of it as JSON" });
    return made("details", { className: "field" }, summary, label, ...this.#take(input, { name: "arguments" }, id));
  }

  /** The input and the place of its problem. */
  #take(input, field, id) {
    Object.assign(input, { id, name: field.name });
    input.setAttribute("aria-describedby", `${field.description ? `${id}-about ` : ""}${id}-problem`);
    if (field.required) input.setAttribute("aria-required", "true");
    if (input.dataset.json !== undefined) watch(input);
    this.#inputs.push(input);
    return [input, made("p", { className: "problem", id: `${id}-problem`, hidden: true })];
  }
}

const WORDS = { text: "text", line: "text", choice: "choice", number: "number", integer: "integer" };

const INPUTS = {
  text: (field) => area(field, 2),
  json: (field) => area({ ...field, value: readable(field.value) }, 4),
  line: (field) => line(field, ""),
  number: (field) => line(field, "decimal"),
  integer: (field) => line(field, "numeric"),
  choice: (field) => {
    const none = made("option", { value: "", textContent: field.required ? "choose one" : "(not sent)" });
    const choices = field.choices.map(([value, text]) => made("option", { value, textContent: text }));
    const input = made("select", {}, none, ...choices);
    input.value = field.value;
    return input;
  },
};

function line(field, inputMode) {
  return made("input", { type: "text", value: field.value, inputMode, autocomplete: "off", spellcheck: false });
}

function area(field, rows) {
  const input = made("textarea", { rows, value: field.value, spellcheck: false });
  if (field.kind !== "json") return input;
  input.className = "mono";
  input.dataset.json = field.shape;
  return input;
}
