// What is configured, and the API keys.

import { say } from "./actions.js";
import { address, ask, read, reason } from "./api.js";
import { button, made } from "./elements.js";
import { moment } from "./formats.js";

const at = (id) => document.getElementById(id);

export function start() {
  if (!at("configuration")) return;
  for (const section of document.querySelectorAll("#configuration [data-kind]")) things(section);
  keys();
  at("create-key").addEventListener("submit", (event) => {
    event.preventDefault();
    create();
  });
  at("new-key-hide").addEventListener("click", () => {
    at("new-key-text").textContent = "";
    at("new-key").hidden = true;
    at("title-keys").focus();
  });
}

async function things(section) {
  const { kind, led } = section.dataset;
  const found = (await read(address(kind))) ?? [];
  const lines = found.map((it) => {
    const name = it.image ?? it.name;
    const way = `${led}/${name.split("/").map(encodeURIComponent).join("/")}`;
    return made("li", {}, made("a", { href: way, className: "mono", textContent: name }), " ", about(it));
  });
  fill(section, lines);
}

/** In a few words what it is. */
function about({ enabled, command, args, url, servers, namespace, auth }) {
  const words = command ? [command, ...(args ?? [])].join(" ") : url ?? servers?.join(", ") ?? namespace ?? "";
  const more = [words, auth && `auth ${auth}`, enabled === false && "disabled"].filter(Boolean).join(", ");
  return made("span", { className: "hint", textContent: more });
}

function fill(section, lines) {
  section.querySelector(".things").replaceChildren(...lines);
  section.querySelector(".empty").hidden = lines.length > 0;
}

async function keys() {
  const found = (await read(address("keys"))) ?? [];
  fill(at("keys"), found.map((key) => {
    const until = key.expires ? `, until ${moment(key.expires)}` : "";
    const text = `${key.scopes.join(", ")}${until}${key.valid ? "" : ", no longer valid"}`;
    const about = made("span", { className: "hint", textContent: text });
    return made("li", {}, made("b", { textContent: key.name }), " ", about, " ", revoker(key));
  }));
}

/** Asks once more, at the same place. */
function revoker({ id, name }) {
  let sure = false;
  const element = button("Revoke", async () => {
    if (!sure) {
      sure = true;
      element.textContent = `Revoke ${name} now`;
      return;
    }
    element.disabled = true;
    const done = await ask("DELETE", address("keys", id));
    say(done.ok ? `${name} is revoked.` : reason(done), done.ok);
    await keys();
    at("title-keys").focus();
  });
  element.append(made("span", { className: "away", textContent: ` ${name}` }));
  return element;
}

async function create() {
  const expires = at("key-expires").value.trim();
  const scopes = at("key-scopes").value.trim().split(/[\s,]+/).filter(Boolean);
  const body = { name: at("key-name").value.trim(), scopes, ...(expires ? { expires } : {}) };
  const done = await ask("POST", address("keys"), { text: JSON.stringify(body) });
  const problem = at("key-problem");
  const words = [reason(done), ...(done.document.problems ?? []).map(({ path, text }) => `${path}: ${text}`)];
  problem.hidden = done.ok;
  problem.textContent = done.ok ? "" : words.join("; ");
  if (!done.ok) return;
  at("create-key").reset();
  at("new-key-text").textContent = done.document.key;
  at("new-key").hidden = false;
  at("new-key").querySelector("h3").focus();
  await keys();
}
