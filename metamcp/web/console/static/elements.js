// Elements made by scripts. Texts become text, never markup.

/** ``options``: properties, ``data`` for the dataset, ``aria`` for attributes; children are elements or texts. */
export function made(tag, { data = {}, aria = {}, ...options } = {}, ...children) {
  const element = Object.assign(document.createElement(tag), options);
  Object.assign(element.dataset, data);
  for (const [name, value] of Object.entries(aria)) element.setAttribute(`aria-${name}`, value);
  element.append(...children);
  return element;
}

export function button(text, onClick) {
  const element = made("button", { type: "button", textContent: text });
  element.addEventListener("click", onClick);
  return element;
}

/** A copy of what the template ``id`` holds. */
export function copyOf(id) {
  return document.getElementById(id).content.firstElementChild.cloneNode(true);
}
