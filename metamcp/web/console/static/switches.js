// A field of JSON that can be filled in with check marks, too: one for each name that there is to choose from.

import { made } from "./elements.js";

let groups = 0;

/** Beside ``field``: ``has(value, name)`` says whether the mark is set, ``turn(value, name, on)`` gives the new value.
    ``none`` is the value of an empty field. */
export function add(field, legend, names, none, has, turn) {
  const id = `switches-${(groups += 1)}`;
  const boxes = names.map((name, index) => made("input", { type: "checkbox", id: `${id}-${index}`, value: name }));
  const marks = boxes.map((box) => made("label", { htmlFor: box.id, className: "mark" }, box, " ", box.value));
  const group = made("fieldset", { className: "switches" }, made("legend", { textContent: legend }), ...marks);
  const show = () => {
    const value = parsed(field.value, none);
    group.disabled = value === null;
    if (value !== null) for (const box of boxes) box.checked = has(value, box.value);
  };
  for (const box of boxes) {
    box.addEventListener("change", () => {
      const value = turn(parsed(field.value, none), box.value, box.checked);
      field.value = JSON.stringify(value, null, 2);
      field.dispatchEvent(new Event("input", { bubbles: true }));
    });
  }
  field.addEventListener("input", show);
  field.before(group);
  show();
}

/** null while it is no such JSON. */
function parsed(text, none) {
  try {
    const value = text.trim() ? JSON.parse(text) : none;
    return Array.isArray(value) === Array.isArray(none) && typeof value === "object" ? value : null;
  } catch {
    return null;
  }
}
