// Values of a document as a page shows them, as formats.py does with those that are in the page from the beginning.

const MANY = 6;
const LINE_END = " \\\n    ";
const UNITS = ["B", "KiB", "MiB", "GiB", "TiB"];
const STEPS = [[60, 1, "second"], [3600, 60, "minute"], [86400, 3600, "hour"], [Infinity, 86400, "day"]];
const relative = new Intl.RelativeTimeFormat("en", { numeric: "auto", style: "narrow" });

export function shown(value, form = "") {
  return value === null || value === undefined ? "" : FORMS[form](value);
}

/** A moment in words: "5 min. ago". Changes with time, so it is asked for again and again. */
export function ago(unix) {
  const seconds = unix - Date.now() / 1000;
  const [, size, unit] = STEPS.find(([until]) => Math.abs(seconds) < until);
  const count = Math.trunc(seconds / size);
  return unit === "second" && Math.abs(count) < 2 ? "just now" : relative.format(count, unit);
}

export function moment(unix) {
  return new Date(unix * 1000).toISOString().replace("T", " ").replace(/\..*/, " UTC");
}

export function clock(unix) {
  return new Date(unix * 1000).toLocaleTimeString("en-GB");
}

export function bytes(count) {
  let unit = 0;
  for (; count >= 1024 && unit < UNITS.length - 1; unit += 1) count /= 1024;
  return unit ? `${count.toFixed(1)} ${UNITS[unit]}` : `${count.toFixed(0)} B`;
}

export function seconds(value) {
  if (value < 0.1) return `${Number((value * 1000).toPrecision(3))} ms`;
  if (value < 1) return `${(value * 1000).toFixed(0)} ms`;
  return value < 60 ? `${value.toFixed(1)} s` : `${(value / 60).toFixed(1)} min`;
}

/** As a shell takes it; one with many options has a line for each. */
function command(words) {
  const quoted = words.map((word) => (/^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'"'"'`)}'`));
  const many = quoted.filter((word) => word.startsWith("--")).length >= MANY;
  return quoted.map((word) => (many && word.startsWith("--") ? LINE_END : " ") + word).join("").slice(1);
}

const FORMS = { "": String, time: moment, bytes, seconds, command, lines: (lines) => lines.join("\n") };
