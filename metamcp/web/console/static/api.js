// The routes below /api, for what operators change.

import { say } from "./actions.js";

const token = () => document.querySelector('meta[name="csrf-token"]').content;

/** Gives ``{ok, status, tag, document}``; ``document`` is what was answered, or says why nothing was. */
export async function ask(method, path, { text = null, tag = "" } = {}) {
  const headers = { Accept: "application/json", "X-CSRF-Token": token() };
  if (text !== null) headers["Content-Type"] = "application/json";
  if (tag) headers["If-Match"] = tag;
  try {
    const answer = await fetch(path, { method, headers, body: text });
    const { ok, status } = answer;
    return { ok, status, tag: answer.headers.get("ETag") ?? "", document: await answer.json() };
  } catch {
    return { ok: false, status: 0, tag: "", document: { error: "The gateway does not answer." } };
  }
}

/** Of something with a name. */
export function address(kind, name = "") {
  return `/api/${kind}${name && "/"}${name.split("/").map(encodeURIComponent).join("/")}`;
}

/** Why it was refused, in words. */
export function reason({ document, status }) {
  const { error } = document;
  return (typeof error === "string" ? error : error?.message) ?? `answer ${status}`;
}

/** The document, or null after the reason was told. */
export async function read(path) {
  const found = await ask("GET", path);
  if (found.ok) return found.document;
  say(reason(found), false);
  return null;
}
