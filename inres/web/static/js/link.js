/**
 * The query as a link: `#q=` and JSON.
 *
 * `{"query": {"path": "root/path", "series_uid"?, "world_mm"?} | {"item": n} | {"upload": name},
 *   "options": {...}, "view": {"slice", "window", "filters"?}}`
 */

/** @typedef {import("./types.js").State} State */
/** @typedef {import("./types.js").Filters} Filters */

import { NO_FILTERS } from "./state.js";
import { optionsOf } from "./search.js";
import { whereOf } from "./where.js";

const PREFIX = "#q=";

/**
 * What a link to the present query holds; null if there is none.
 *
 * @param {State} state
 */
export function linkOf(state) {
  const { query, scan, filters } = state;
  const view = { slice: state.slice, window: state.window };
  if (filters !== NO_FILTERS) Object.assign(view, { filters });
  const rest = { options: optionsOf(state), view };
  if (!query) return null;
  if (query.kind === "item") return { query: { item: query.item }, ...rest };
  if (query.kind === "image") return { query: { upload: query.name }, ...rest };
  if (!scan) return null;
  const world = query.world ? { world_mm: query.world.map((v) => Number(v.toFixed(3))) } : {};
  if (!scan.source) return { query: { upload: scan.name, ...world }, ...rest };
  const { root, path, series_uid: uid } = scan.source;
  const series = uid ? { series_uid: uid } : {};
  return { query: { path: `${root}/${path}`, ...series, ...world }, ...rest };
}

/** @param {ReturnType<typeof linkOf>} link */
export const hashOf = (link) => (link ? PREFIX + encodeURIComponent(JSON.stringify(link)) : "");

/**
 * What identifies the query of a link: a change of it is a step of the browser's history.
 *
 * @param {ReturnType<typeof linkOf>} link
 */
export const identityOf = (link) => JSON.stringify(link?.query ?? null);

const isText = (value) => typeof value === "string";
const isNumber = (value) => typeof value === "number" && Number.isFinite(value);
const isObject = (value) => typeof value === "object" && value !== null && !Array.isArray(value);

/** Whether a value of an option has the type that the page's controls can show. */
const OPTION_TYPES = {
  k: isNumber, threshold: isNumber, min_pool: isNumber, nearest: isNumber, rank: isText,
  same_class: (value) => typeof value === "boolean", distinct: isText, where: isText,
  own_scan: (value) => typeof value === "boolean",
  weights: (value) => isObject(value) && Object.values(value).every(isNumber),
};

/**
 * @param {any} filters
 * @returns {Filters}
 */
function checkedFilters(filters) {
  if (!isObject(filters)) return NO_FILTERS;
  const { classes, smallest, largest, conditions, sql } = filters;
  const fields = ["column", "operator", "value", "upper"];
  return {
    classes: Array.isArray(classes) ? classes.filter(Number.isInteger) : [],
    smallest: isNumber(smallest) ? smallest : null,
    largest: isNumber(largest) ? largest : null,
    conditions: (Array.isArray(conditions) ? conditions : [])
      .filter((one) => isObject(one) && fields.every((field) => isText(one[field]))),
    sql: isText(sql) ? sql : "",
  };
}

/**
 * Reads a link. Fields of the wrong type are left out: a link can come from anywhere.
 *
 * @param {string} hash
 * @param {import("./types.js").Column[]} columns
 * @returns {?{query: any, given: Object<string, any>, filters: Filters, slice: ?number,
 *   window: ?string}} Null if it is not a link of this page.
 */
export function parseLink(hash, columns) {
  if (!hash.startsWith(PREFIX)) return null;
  let read;
  try {
    read = JSON.parse(decodeURIComponent(hash.slice(PREFIX.length)));
  } catch {
    return null;
  }
  if (!isObject(read) || !isObject(read.query)) return null;
  const options = isObject(read.options) ? read.options : {};
  const given = Object.fromEntries(Object.entries(options)
    .filter(([name, value]) => OPTION_TYPES[name]?.(value) && name !== "where"));
  const where = isText(options.where) ? options.where : "";
  const view = isObject(read.view) ? read.view : {};
  const filters = checkedFilters(view.filters);
  const shown = whereOf(filters, columns) === where ? filters : { ...NO_FILTERS, sql: where };
  return {
    query: read.query,
    given,
    filters: whereOf(shown, columns) ? shown : NO_FILTERS,
    slice: isNumber(view.slice) ? view.slice : null,
    window: isText(view.window) ? view.window : null,
  };
}
