/** Places in a scan: between indices (slice, row, column) and world coordinates in LPS mm. */

/** @typedef {import("./types.js").Vector} Vector */
/** @typedef {import("./types.js").Scan} Scan */

/**
 * @param {number[][]} matrix  4 x 4, or its first three rows.
 * @param {Vector} index  slice, row, column.
 * @returns {Vector} x, y, z in mm.
 */
export function toWorld(matrix, index) {
  const [s, r, c] = index;
  return /** @type {Vector} */ (
    [0, 1, 2].map((i) => matrix[i][0] * s + matrix[i][1] * r + matrix[i][2] * c + matrix[i][3])
  );
}

/**
 * The inverse of `toWorld`.
 *
 * @param {number[][]} matrix
 * @param {Vector} world
 * @returns {Vector} slice, row, column; need not be whole numbers.
 */
export function toIndex(matrix, world) {
  const [a, b, c] = matrix;
  const d = [world[0] - a[3], world[1] - b[3], world[2] - c[3]];
  const cross = (u, v) => [
    u[1] * v[2] - u[2] * v[1], u[2] * v[0] - u[0] * v[2], u[0] * v[1] - u[1] * v[0],
  ];
  const column = (i) => [a[i], b[i], c[i]];
  const dot = (u, v) => u[0] * v[0] + u[1] * v[1] + u[2] * v[2];
  const [first, second, third] = [column(0), column(1), column(2)];
  const determinant = dot(first, cross(second, third));
  return [
    dot(d, cross(second, third)) / determinant,
    dot(d, cross(third, first)) / determinant,
    dot(d, cross(first, second)) / determinant,
  ];
}

/**
 * Whether a place is inside a scan, up to half a voxel around it.
 *
 * @param {Scan} scan
 * @param {Vector} index
 */
export function inside(scan, index) {
  return index.every((value, axis) => value >= -0.5 && value <= scan.shape[axis] - 0.5);
}

/**
 * The height of a slice along the body axis in mm, at the middle of the image.
 *
 * @param {Scan} scan
 * @param {number} slice
 */
export function heightOf(scan, slice) {
  const [, rows, columns] = scan.shape;
  return toWorld(scan.index_to_world, [slice, (rows - 1) / 2, (columns - 1) / 2])[2];
}

/** @param {number} value @param {number} low @param {number} high */
export const clamp = (value, low, high) => Math.min(Math.max(value, low), high);

/**
 * Three numbers in mm from text such as "-100.6, 67.3, -231.8"; null if there are no three.
 *
 * @param {string} text
 * @returns {?Vector}
 */
export function parsePlace(text) {
  const parts = text.replaceAll("\u2212", "-").trim().split(/[\s,;]+/).filter(Boolean);
  const numbers = parts.map(Number);
  if (numbers.length !== 3 || !numbers.every(Number.isFinite)) return null;
  return /** @type {Vector} */ (numbers);
}
