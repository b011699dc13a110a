/** Elements. Data only ever becomes text: names and records may contain anything. */

/** @typedef {Node|string|number|null|undefined|false} Child */

/**
 * Makes an element.
 *
 * @param {string} tag
 * @param {Object<string, any>} [properties]  `class`, `dataset` and `on` (listeners by event);
 *   `aria-*` and other names with a dash are attributes, all others properties. Null is left out.
 * @param {...(Child|Child[])} children
 * @returns {any}
 */
export function el(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === null || value === undefined) continue;
    if (name === "class") made.className = value;
    else if (name === "on") {
      for (const [event, call] of Object.entries(value)) made.addEventListener(event, call);
    } else if (name === "dataset") Object.assign(made.dataset, value);
    else if (name.includes("-") || name === "role" || name === "for") {
      made.setAttribute(name, value);
    } else made[name] = value;
  }
  put(made, ...children);
  return made;
}

/**
 * Appends children; null, undefined and false are left out.
 *
 * @param {Element} parent
 * @param {...(Child|Child[])} children
 */
export function put(parent, ...children) {
  for (const child of children.flat()) {
    if (child === null || child === undefined || child === false) continue;
    parent.append(child instanceof Node ? child : String(child));
  }
}

/**
 * Replaces the children of an element.
 *
 * @param {Element} parent
 * @param {...(Child|Child[])} children
 */
export function fill(parent, ...children) {
  parent.replaceChildren();
  put(parent, ...children);
}

/**
 * The element with an id.
 *
 * @param {string} id
 * @returns {any}
 */
export function byId(id) {
  const found = document.getElementById(id);
  if (!found) throw new Error(`no element ${id}`);
  return found;
}

/**
 * Text from data: a long name wraps, and its direction does not affect what is around it.
 *
 * @param {string|number|null|undefined} text
 * @param {string} [className]
 */
export function data(text, className = "") {
  return el("bdi", { class: `data ${className}`.trim(), title: String(text ?? "") }, text ?? "");
}

/**
 * A button.
 *
 * @param {Child|Child[]} content
 * @param {() => void} press
 * @param {Object<string, any>} [properties]
 */
export function button(content, press, properties = {}) {
  const { on, ...others } = properties;
  return el("button", { type: "button", ...others, on: { click: press, ...on } }, content);
}

/**
 * Calls `call` once, `wait` ms after the last of a burst of calls.
 *
 * @param {() => void} call
 * @param {number} wait
 */
export function debounced(call, wait) {
  let timer = 0;
  return () => {
    clearTimeout(timer);
    timer = window.setTimeout(call, wait);
  };
}
