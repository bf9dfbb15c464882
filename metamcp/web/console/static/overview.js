// What is going on, as /api/events tells it: every page takes of it what it shows.

import { fill, list, setText } from "./records.js";
import { follow } from "./streams.js";

const well = new Map(); // by the name of the server
const WELL = (server) => !["BACKOFF", "FATAL", "DISABLED"].includes(server.state);

export function start() {
  if (!document.querySelector("#servers,#server,#instances,#sessions,#live")) return;
  follow(() => "/api/events", {
    status: (event) => onStatus(JSON.parse(event.data)),
    calls: (event) => onCalls(JSON.parse(event.data)),
  });
}

function onStatus(status) {
  status.servers = status.servers.map(saidOnce);
  count("servers", status.servers.length);
  count("servers-well", status.servers.filter(WELL).length);
  count("children", status.children.length);
  count("sessions", status.sessions.length);
  onProblems(status.configuration.problems);
  onNews(status.servers);
  rows("servers", "server", status.servers, (server) => server.name);
  rows("sessions", "session", status.sessions, (session) => session.id);
  const only = onServer(status.servers);
  const children = status.children.filter((child) => !only || child.server === only);
  rows("instances", "instance", children, (child) => child.containerName ?? child.pid);
}

/** For those who do not see the page: which server can no longer be used, or can again. Of one that is being tried it is not
    known yet. */
function onNews(all) {
  const place = document.getElementById("news");
  const servers = all.filter((server) => server.state !== "STARTING");
  const changed = servers.filter((server) => well.has(server.name) && well.get(server.name) !== WELL(server));
  for (const server of servers) well.set(server.name, WELL(server));
  const words = changed.map((server) => `${server.name}: ${server.state}. ${server.reason ?? ""}`);
  if (words.length) setText(place, words.join(" "));
}

function onCalls(calls) {
  rows("live", "live-call", calls.live, (call) => call.id);
  const omitted = document.getElementById("omitted");
  if (omitted) omitted.hidden = !calls.omitted;
  count("omitted", calls.omitted);
  rows("recent", "recent-call", calls.recent, (call) => call.id);
}

/** Some reasons hold the advice already. */
function saidOnce(server) {
  return (server.reason ?? "").includes(server.advice ?? "") ? { ...server, advice: null } : server;
}

/** The page of one server; the name of that server. */
function onServer(servers) {
  const place = document.getElementById("server");
  if (!place?.dataset.key) return "";
  const found = servers.find((server) => server.name === place.dataset.key);
  document.getElementById("gone").hidden = Boolean(found);
  if (found) fill(place, found);
  return place.dataset.key;
}

function onProblems(problems) {
  const place = document.getElementById("problems");
  if (!place) return;
  place.hidden = !problems.length;
  const lines = problems.map(({ path, text }) => {
    const line = document.createElement("li");
    const where = document.createElement("code");
    where.textContent = path;
    line.append(where, ` ${text}`);
    return line;
  });
  place.querySelector("ul").replaceChildren(...lines);
}

function rows(id, template, records, key) {
  const place = document.getElementById(id);
  if (!place) return;
  list(place.tBodies?.[0] ?? place, document.getElementById(template), records, key);
  const empty = document.querySelector(`[data-empty="${id}"]`);
  if (empty) empty.hidden = records.length > 0;
  place.hidden = records.length === 0;
}

function count(name, number) {
  for (const place of document.querySelectorAll(`[data-count="${name}"]`)) setText(place, String(number));
}
