// The form of a namespace: its servers, and which of their tools clients see, as check marks.

import { address, read } from "./api.js";
import { add } from "./switches.js";

export async function start(form, namespace, servers) {
  const chosen = form.elements["argument:servers"];
  add(chosen, "Servers in it", servers, [], (value, name) => value.includes(name), turnServer);
  const overrides = form.elements["argument:tools"];
  const names = await tools(namespace, JSON.parse(overrides.value || "{}"));
  if (names.length) add(overrides, "Tools that clients see", names, {}, isShown, turnTool);
}

function turnServer(value, name, on) {
  return on ? [...value, name] : value.filter((it) => it !== name);
}

function isShown(value, name) {
  return value[name]?.enabled !== false;
}

function turnTool(value, name, on) {
  const override = { ...value[name], enabled: false };
  if (on) delete override.enabled;
  const made = { ...value, [name]: override };
  if (!Object.keys(override).length) delete made[name];
  return made;
}

/** By the names that overrides have: what clients find at an endpoint of it, and what is written here already. */
async function tools(namespace, overrides) {
  const endpoints = (await read(address("endpoints"))) ?? [];
  const endpoint = endpoints.find((it) => it.namespace === namespace);
  const catalog = endpoint ? await read(`${address("endpoints", endpoint.name)}/catalog`) : null;
  const own = new Map(Object.entries(overrides).map(([name, override]) => [override.name ?? name, name]));
  const found = (catalog?.tools ?? []).map((tool) => own.get(tool.name) ?? tool.name);
  return [...new Set([...Object.keys(overrides), ...found])].sort();
}
