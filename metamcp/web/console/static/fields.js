// The fields of a tool's form: JSON is checked as soon as it is written, in the words of the browser.

export function start() {
  document.querySelectorAll("textarea[data-json]").forEach(watch);
}

/** ``field`` is described last by the place of its problem. */
export function watch(field) {
  field.addEventListener("change", () => tell(field, problem(field.value, field.dataset.json)));
  field.addEventListener("input", () => field.ariaInvalid === "true" && tell(field, problem(field.value, field.dataset.json)));
}

function problem(text, shape) {
  if (!text.trim()) return "";
  let value;
  try {
    value = JSON.parse(text);
  } catch (error) {
    return `this is not JSON: ${error.message}`;
  }
  const right = { object: isObject, array: Array.isArray }[shape]?.(value) ?? true;
  return right ? "" : `this must be a JSON ${shape}`;
}

function isObject(value) {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** What is wrong with it; "" for nothing. */
export function tell(field, text) {
  const place = document.getElementById(field.getAttribute("aria-describedby").split(" ").at(-1));
  field.ariaInvalid = text ? "true" : "false";
  place.textContent = text;
  place.hidden = !text;
}
