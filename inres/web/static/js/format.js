/** Numbers and names as text. */

export const UNKNOWN = "\u2013";
export const NO_CLASS = "class unknown";
const MINUS = "\u2212";

/**
 * A number with a fixed number of decimal places; a dash if unknown.
 *
 * @param {?number|undefined} value
 * @param {number} [digits]
 */
export function fixed(value, digits = 1) {
  if (value === null || value === undefined || !Number.isFinite(value)) return UNKNOWN;
  const text = value.toFixed(digits);
  return (Number(text) === 0 ? text.replace("-", "") : text).replace("-", MINUS);
}

/**
 * A number with at most three decimal places.
 *
 * @param {?number|undefined} value
 */
export function plain(value) {
  if (value === null || value === undefined || !Number.isFinite(value)) return UNKNOWN;
  return String(Number(value.toFixed(3))).replace("-", MINUS);
}

/** @param {?number|undefined} value */
export const millimetres = (value) => {
  const text = fixed(value, 1);
  return text === UNKNOWN ? text : `${text} mm`;
};

/**
 * A distance with three significant digits.
 *
 * @param {?number|undefined} value
 */
export function distance(value) {
  if (value === null || value === undefined || !Number.isFinite(value)) return UNKNOWN;
  return value >= 100 ? value.toFixed(0) : value.toPrecision(3);
}

/** @param {number} count */
const thousands = (count) => count.toLocaleString("en").replaceAll(",", "\u202f");

/**
 * @param {number} count
 * @param {string} one
 * @param {string} [many]
 */
export const counted = (count, one, many = `${one}s`) =>
  `${thousands(count)} ${count === 1 ? one : many}`;

/** @param {number} bytes */
export function size(bytes) {
  const units = ["bytes", "kB", "MB", "GB"];
  let at = 0;
  let value = bytes;
  while (value >= 1000 && at < units.length - 1) {
    value /= 1000;
    at += 1;
  }
  return `${at ? fixed(value, value < 10 ? 1 : 0) : value} ${units[at]}`;
}

/**
 * A value of a record.
 *
 * @param {string|number|null|undefined} value
 */
export function cell(value) {
  if (value === null || value === undefined || value === "") return UNKNOWN;
  return typeof value === "number" ? plain(value) : value;
}

/**
 * A place in mm, one decimal each.
 *
 * @param {number[]} world
 */
export const place = (world) => world.map((value) => fixed(value, 1)).join(", ");

/**
 * A long name shortened in its middle, so that names that differ at their end stay different.
 *
 * @param {string} text
 * @param {number} keep
 */
export function short(text, keep = 24) {
  if (text.length <= keep) return text;
  const head = Math.ceil((keep - 1) / 3);
  return `${text.slice(0, head)}\u2026${text.slice(text.length - (keep - 1 - head))}`;
}

/**
 * A value of a property with its usual number of decimal places and its unit.
 *
 * @param {?number|undefined} value
 * @param {{unit: string, digits: number}} [property]
 */
export function measured(value, property) {
  const text = fixed(value, property?.digits);
  return text === UNKNOWN || !property?.unit ? text : `${text} ${property.unit}`;
}
