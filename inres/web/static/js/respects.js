/** In which respects a result is similar to the query: marks, numbers, and words for them. */

/** @typedef {import("./types.js").Respect} Respect */
/** @typedef {import("./types.js").Property} Property */

import { el } from "./dom.js";
import { fixed, measured } from "./format.js";
import { mark } from "./icons.js";

/** @type {Object<Respect["verdict"], string>} */
export const VERDICTS = {
  similar: "similar", partly: "partly similar", different: "different", unknown: "not compared",
};

/**
 * A respect as a sentence.
 *
 * @param {Respect} respect
 * @param {Property|undefined} property
 */
function sentence({ title, query, item, difference_sd: sd, verdict }, property) {
  const values = `${title} ${measured(item, property)}, query ${measured(query, property)}`;
  const apart = sd === null ? "" : `, ${fixed(sd, 1)} SD apart`;
  return `${values}${apart}: ${VERDICTS[verdict]}`;
}

/**
 * The respects of a result as a list of terms.
 *
 * @param {Respect[]} respects
 * @param {Property[]} properties
 */
export function respectList(respects, properties) {
  const known = byName(properties);
  return el("dl", { class: "respects" }, respects.map((one) => {
    const property = known[one.name];
    const text = sentence(one, property);
    return el("div", { class: `respect ${one.verdict}`, title: text },
      el("dt", {}, one.title),
      el("dd", {},
        mark(one.verdict),
        el("span", { class: "value" }, fixed(one.item, property?.digits)),
        el("span", { class: "visually-hidden" }, `${property?.unit ?? ""}, query ${
          fixed(one.query, property?.digits)}, ${VERDICTS[one.verdict]}`),
        one.difference_sd !== null && el("span", { class: "apart", "aria-hidden": "true" },
          difference(one, property?.digits))));
  }));
}

/**
 * The difference to the query with its sign, in the unit of the property.
 *
 * @param {Respect} respect
 * @param {number} [digits]
 */
function difference({ item, query }, digits) {
  if (item === null || query === null) return "";
  const text = fixed(item - query, digits);
  if (!/[1-9]/.test(text)) return "±0";
  return item > query ? `+${text}` : text;
}

/**
 * The query's own values in the places of the respects of its results.
 *
 * @param {Property[]} properties
 * @param {Object<string, number>} estimates
 * @param {Object<string, number>} known  What its record says.
 */
export function queryList(properties, estimates, known) {
  return el("dl", { class: "respects" }, properties.map((property) => {
    const { name, title, digits } = property;
    const record = known[name];
    const has = record !== undefined && record !== null;
    return el("div", {
      class: "respect own",
      title: `${title}: estimated ${measured(estimates[name], property)}`
        + (has ? `, record ${measured(record, property)}` : ""),
    },
    el("dt", {}, title),
    el("dd", {},
      el("span", { class: "value" }, fixed(estimates[name], digits)),
      has && el("span", { class: "apart" }, `rec. ${fixed(record, digits)}`)));
  }));
}

/** @param {Property[]} properties @returns {Object<string, Property|undefined>} */
export const byName = (properties) =>
  Object.fromEntries(properties.map((property) => [property.name, property]));

/** The meaning of the marks. */
export function legend() {
  const entry = (verdict, text) => el("span", {}, mark(verdict), text);
  return el("p", { class: "legend" },
    entry("similar", "similar"), entry("partly", "partly"), entry("different", "different"));
}
