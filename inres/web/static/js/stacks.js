/**
 * Stacks of slices, whatever they come from, from the lowest up.
 *
 * @typedef {Object} Stack
 * @property {string} key  Equal for equal stacks.
 * @property {number} count
 * @property {number} rows
 * @property {number} columns
 * @property {[number, number]} spacing  Of rows and columns in mm, or 1, 1 where unknown.
 * @property {boolean} scaled  Whether the spacing is known.
 * @property {number} own  The slice to start with.
 * @property {?[number, number]} window  The HU that are black and white; null if unknown.
 * @property {?[number, number]} point  Row and column of the place in its own slice.
 * @property {(k: number) => string} url
 * @property {(k: number) => ?number} height  Along the body axis in mm; null if unknown.
 */

/** @typedef {import("./types.js").Scan} Scan */
/** @typedef {import("./types.js").Item} Item */
/** @typedef {import("./types.js").Vector} Vector */

import { sliceUrl } from "./api.js";
import { clamp, heightOf, toIndex } from "./geometry.js";

/**
 * @param {Scan} scan
 * @param {string} window
 * @param {?Vector} world  The place, if there is one.
 * @returns {Stack}
 */
export function scanStack(scan, window, world) {
  const [count, rows, columns] = scan.shape;
  const index = world && toIndex(scan.index_to_world, world);
  return {
    key: `scan ${scan.id} ${window}`,
    count,
    rows,
    columns,
    spacing: [scan.spacing_mm[1], scan.spacing_mm[2]],
    scaled: true,
    window: scan.windows[window] ?? null,
    own: index ? clamp(Math.round(index[0]), 0, count - 1) : Math.floor(count / 2),
    point: index && [index[1], index[2]],
    url: (k) => sliceUrl(scan.id, k, window),
    height: (k) => heightOf(scan, k),
  };
}

/**
 * @param {Item} item
 * @returns {Stack}
 */
export function itemStack(item) {
  const {
    count, own, z_mm: heights, side_px: side, pixel_mm: pixel, window_hu: hu, images,
  } = item.slices;
  const [row, column] = item.slices.point;
  return {
    key: `item ${item.item}`,
    count,
    rows: side,
    columns: side,
    spacing: pixel ? [pixel, pixel] : [1, 1],
    scaled: Boolean(pixel),
    window: hu ?? null,
    own,
    point: typeof row === "number" && typeof column === "number" ? [row, column] : null,
    url: (k) => images[k],
    height: (k) => heights?.[k] ?? null,
  };
}

/**
 * Images of one size.
 *
 * @param {string[]} urls
 * @param {{rows: number, columns: number, spacing?: ?number}} size  Spacing in mm, if known.
 * @returns {Stack}
 */
export function pictureStack(urls, { rows, columns, spacing }) {
  return {
    key: `pictures ${urls[0]}`,
    count: urls.length,
    rows,
    columns,
    spacing: spacing ? [spacing, spacing] : [1, 1],
    scaled: Boolean(spacing),
    window: null,
    own: Math.floor(urls.length / 2),
    point: null,
    url: (k) => urls[k],
    height: () => null,
  };
}

/**
 * The slices around one, nearest first: those ahead in the direction of scrolling before those
 * behind.
 *
 * @param {number} count
 * @param {number} at
 * @param {number} direction  1 or -1.
 * @param {number} reach
 */
export function around(count, at, direction, reach) {
  const order = [at];
  for (let step = 1; step <= reach; step += 1) {
    order.push(at + direction * step);
    if (step <= reach / 2) order.push(at - direction * step);
  }
  return order.filter((k) => k >= 0 && k < count);
}

/**
 * The slice of a stack at a height, or null if it is beyond both ends.
 *
 * @param {Stack} stack
 * @param {number} height
 */
export function sliceAt(stack, height) {
  const heights = Array.from({ length: stack.count }, (_, k) => stack.height(k));
  if (heights.some((value) => value === null)) return null;
  const apart = heights.map((value) => Math.abs(/** @type {number} */ (value) - height));
  return apart.indexOf(Math.min(...apart));
}
