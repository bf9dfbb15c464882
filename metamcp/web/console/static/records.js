// Records of a document in the page: the markup says where each value goes (templates/console/_fields.html). What servers
// and clients have written becomes text, never markup.

import { shown } from "./formats.js";
import { tell } from "./times.js";

/** ``lastExit.reason`` of a record; undefined where there is nothing. */
function look(record, path) {
  return path.split(".").reduce((found, name) => found?.[name], record);
}

/** Bring ``element`` up to date with ``record``. */
export function fill(element, record) {
  for (const each of [element, ...element.querySelectorAll("[data-value],[data-shows],[data-stated],[data-led]")]) {
    const { value, form, shows, stated, led, before, from, after } = each.dataset;
    if (shows) each.hidden = isEmpty(look(record, shows));
    if (stated) each.dataset.state = look(record, stated) ?? "";
    if (led) each.setAttribute(led, before + encodeURIComponent(look(record, from) ?? "") + after);
    if (value) write(each, look(record, value), form);
  }
}

function write(element, value, form) {
  if (form === "time") tell(element, value);
  else setText(element, shown(value, form));
}

/** Without a change nobody is told of one, and a selection stays. */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

function isEmpty(value) {
  return value === null || value === undefined || value === "" || (Array.isArray(value) && !value.length);
}

/** One element for each record in ``parent``, in their order, made from ``template``; those that stay are kept, so that
    focus and what is unfolded stay, too. ``key`` gives what a record is known by. */
export function list(parent, template, records, key) {
  const known = new Map([...parent.children].map((element) => [element.dataset.key, element]));
  let place = parent.firstElementChild;
  for (const record of records) {
    const name = String(key(record));
    const element = known.get(name) ?? template.content.firstElementChild.cloneNode(true);
    known.delete(name);
    element.dataset.key = name;
    fill(element, record);
    if (element === place) place = place.nextElementSibling;
    else parent.insertBefore(element, place);
  }
  for (const element of known.values()) element.remove();
}
