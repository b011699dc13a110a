/** Two stacks that scroll together: by height where both know it, else slice by slice. */

/** @typedef {import("./stacks.js").Stack} Stack */

import { sliceAt } from "./stacks.js";

/** Furthest that a pair scrolls from the places. */
const REACH_MM = 150;

/** @param {Stack} stack */
function stepOf(stack) {
  const heights = Array.from({ length: stack.count }, (_, k) => stack.height(k));
  const known = heights.filter((value) => value !== null);
  if (known.length < stack.count || stack.count < 2) return null;
  return Math.abs(/** @type {number} */ (known[1]) - /** @type {number} */ (known[0])) || null;
}

/**
 * Positions of a pair of stacks, whole numbers with 0 for both own slices.
 *
 * @param {?Stack} left
 * @param {?Stack} right
 * @returns {{low: number, high: number, millimetres: ?number,
 *   slices: (position: number) => {slice: number, beyond: boolean}[]}}
 *   `millimetres` per position, null if positions are slices; `slices` are those of the left and
 *   the right stack, `beyond` if the stack ends before this position.
 */
export function pairOf(left, right) {
  const stacks = [left, right];
  const several = stacks.filter((stack) => stack !== null && stack.count > 1);
  const steps = several.map((stack) => stepOf(/** @type {Stack} */ (stack)));
  const step = steps.length && steps.every(Boolean)
    ? Math.min(.../** @type {number[]} */ (steps)) : null;

  /** @param {Stack} stack @param {number} position */
  function at(stack, position) {
    const own = stack.height(stack.own);
    if (stack.count < 2) return { slice: stack.own, beyond: position !== 0 };
    if (step !== null && own !== null) {
      const wanted = own + position * step;
      const slice = sliceAt(stack, wanted) ?? stack.own;
      const apart = Math.abs(/** @type {number} */ (stack.height(slice)) - wanted);
      return { slice, beyond: apart > 0.75 * Math.max(step, stepOf(stack) ?? step) };
    }
    const slice = Math.min(Math.max(stack.own + position, 0), stack.count - 1);
    return { slice, beyond: slice !== stack.own + position };
  }

  const ends = several.map((one) => {
    const stack = /** @type {Stack} */ (one);
    const own = stack.height(stack.own);
    if (step === null || own === null) return [-stack.own, stack.count - 1 - stack.own];
    const reach = [0, stack.count - 1]
      .map((k) => (/** @type {number} */ (stack.height(k)) - own) / step);
    return [Math.min(...reach), Math.max(...reach)];
  });
  const most = step === null ? Infinity : REACH_MM / step;
  return {
    low: Math.round(Math.max(-most, Math.min(0, ...ends.map(([low]) => low)))),
    high: Math.round(Math.min(most, Math.max(0, ...ends.map(([, high]) => high)))),
    millimetres: step,
    slices: (position) => stacks.map((stack) =>
      (stack ? at(stack, position) : { slice: 0, beyond: false })),
  };
}
