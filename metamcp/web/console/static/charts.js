// Small graphs of the last hour, drawn from /api/history; each says in words what it shows.

import { bytes, moment, seconds } from "./formats.js";
import { setText } from "./records.js";

const SVG = "http://www.w3.org/2000/svg";
const WIDTH = 480;
const HEIGHT = 96;
const COLORS = 6;
const LEAST_STEPS = 40; // of a younger gateway the left part stays empty

export function start() {
  const figures = [...document.querySelectorAll("[data-chart]")];
  if (!figures.length) return;
  let timer = 0;

  async function draw() {
    clearTimeout(timer);
    if (document.hidden) return;
    let step = 15;
    try {
      const answer = await fetch("/api/history");
      if (answer.ok) {
        const history = await answer.json();
        step = history.step;
        for (const figure of figures) DRAWN[figure.dataset.chart](figure, history);
      }
    } catch {
      // The stream beside it says that nobody answers.
    }
    timer = setTimeout(draw, step * 1000);
  }

  document.addEventListener("visibilitychange", draw);
  draw();
}

const DRAWN = { calls, latency, memory };

function calls(figure, history) {
  const most = Math.max(...history.calls, 1);
  const total = sum(history.calls);
  const bars = history.calls.flatMap((count, index) => {
    if (!count) return [];
    const when = moment(history.until - (history.calls.length - 1 - index) * history.step);
    const failed = history.errors[index];
    const text = `${count} calls, ${failed} errors in the ${history.step} s before ${when}`;
    return [bar(index, history, count / most, "bar", text), bar(index, history, failed / most, "bar failed", text)];
  });
  const summary = total ? `${total} in all, ${sum(history.errors)} errors` : "none";
  show(figure, bars, [`${most} in ${history.step} s`, { "series-0": "calls", failed: "errors" }], summary, history);
}

function latency(figure, history) {
  const most = Math.max(...history.p95.filter(isNumber), ...history.p50.filter(isNumber), 0);
  const lines = [line(history.p95, history, most, "series-1"), line(history.p50, history, most, "series-0")];
  const [half, nearly] = [history.p50, history.p95].map((values) => values.filter(isNumber).at(-1));
  const summary = isNumber(half) ? `now half within ${seconds(half)}, 95 % within ${seconds(nearly)}` : "no calls";
  show(figure, lines, [most ? seconds(most) : "", { "series-0": "half", "series-1": "95 %" }], summary, history);
}

function memory(figure, history) {
  const { server } = figure.dataset;
  const series = Object.entries(history.memory).filter(([, each]) => each.server === server);
  const most = Math.max(...series.flatMap(([, each]) => each.bytes.filter(isNumber)), 0);
  const lines = series.map(([name, each], index) => line(each.bytes, history, most, `series-${index % COLORS}`, name));
  const now = series.map(([, each]) => each.bytes.at(-1)).filter(isNumber);
  const summary = now.length ? `now ${bytes(sum(now))} in ${now.length} of ${series.length} instances` : "no instance runs";
  show(figure, lines, [most ? bytes(most) : "", {}], summary, history);
}

function show(figure, marks, [highest, names], summary, history) {
  const picture = made("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img" });
  const title = figure.querySelector(".name").textContent;
  picture.setAttribute("aria-label", `${title}: ${summary}`);
  picture.append(...[0.5, 1].map((share) => made("path", { d: `M0 ${y(share)}H${WIDTH}`, class: "grid" })), ...marks);
  const plot = document.createElement("div");
  plot.className = "plot";
  const from = `${Math.round((steps(history) * history.step) / 60)} min ago`;
  plot.append(label("highest", highest), legend(names), picture, label("from", from), label("until", "now"));
  figure.querySelector(".plot")?.remove();
  figure.append(plot);
  setText(figure.querySelector(".summary"), summary);
  figure.hidden = false;
}

function bar(index, history, share, name, text) {
  const place = { x: x(index, history.calls, history), y: y(share), width: width(history) * 0.8, height: HEIGHT - y(share) };
  const mark = made("rect", { ...place, class: name });
  mark.append(titled(text));
  return mark;
}

/** With gaps where there is no value; a value between two gaps is a dash. */
function line(values, history, most, name, text = "") {
  let path = "";
  let pen = false;
  values.forEach((value, index) => {
    const at = x(index, values, history);
    if (isNumber(value)) path += `${pen ? "L" : "M"}${at} ${y(most ? value / most : 0)}H${at + width(history)}`;
    pen = isNumber(value);
  });
  const mark = made("path", { d: path, class: `line ${name}` });
  if (text) mark.append(titled(text));
  return mark;
}

function steps(history) {
  return Math.max(history.calls.length, LEAST_STEPS);
}

function width(history) {
  return WIDTH / steps(history);
}

/** The newest value is at the right. */
function x(index, values, history) {
  return WIDTH - (values.length - index) * width(history);
}

function y(share) {
  return HEIGHT - share * (HEIGHT - 4);
}

function titled(text) {
  const title = made("title", {});
  title.textContent = text;
  return title;
}

function label(name, text) {
  const element = document.createElement("span");
  element.className = name;
  element.textContent = text;
  return element;
}

function legend(names) {
  const element = label("legend", "");
  for (const [name, text] of Object.entries(names)) {
    const key = document.createElement("i");
    key.className = name;
    key.textContent = text;
    element.append(key);
  }
  return element;
}

function made(name, attributes) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  return element;
}

const sum = (numbers) => numbers.reduce((total, number) => total + number, 0);
const isNumber = (value) => typeof value === "number";
