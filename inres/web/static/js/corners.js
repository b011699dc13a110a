/** The texts in the corners of the query: what is shown, in which window, where. */

/** @typedef {import("./types.js").State} State */
/** @typedef {import("./stacks.js").Stack} Stack */

import { button, byId, el, fill } from "./dom.js";
import { fixed, millimetres, NO_CLASS, place, short } from "./format.js";
import { toIndex } from "./geometry.js";

const NAME_LENGTH = 32;

/** @param {(slice: number) => void} go */
export function createCorners(go) {
  const [topLeft, topRight, bottomLeft, bottomRight] =
    ["top-left", "top-right", "bottom-left", "bottom-right"].map((at) => byId(`at-${at}`));

  /** @param {State} state @param {number} slice */
  function showPlace({ query, scan }, slice) {
    const world = query?.kind === "scan" ? query.world : null;
    if (!world || !scan) {
      fill(bottomRight, line("Click a place"));
      return;
    }
    const own = Math.round(toIndex(scan.index_to_world, world)[0]);
    fill(bottomRight,
      line(`Place ${place(world)} mm`, "more-text"),
      own !== slice && el("p", {}, button(`on slice ${own + 1}`, () => go(own), {
        class: "in-text", title: "Go to the slice of the place",
      })));
  }

  return {
    /**
     * @param {State} state
     * @param {Stack} stack
     * @param {{slice: number, window: string}} drawn  What is on the canvas.
     */
    show(state, stack, { slice, window }) {
      const { query, scan, item } = state;
      fill(bottomLeft, sliceTexts(stack, slice).map((text) => line(text)));
      if (query?.kind === "item") {
        fill(topLeft, line(`Item ${query.item}`), item && line(item.class ?? NO_CLASS));
        fill(topRight, line(slice === stack.own ? "Own slice" : offsetText(stack, slice)));
        fill(bottomRight);
      } else if (query?.kind === "image") {
        fill(topLeft, name(query.name));
        fill(topRight, line("Picture"));
        fill(bottomRight);
      } else if (scan) {
        const [dz, dy] = scan.spacing_mm;
        const [low, high] = scan.windows[window] ?? [0, 0];
        fill(topLeft,
          name(scan.name),
          line(`${scan.shape[2]} × ${scan.shape[1]} × ${scan.shape[0]}`, "more-text"),
          line(`${fixed(dy, 2)} mm, slices ${fixed(dz, 2)} mm`, "more-text"));
        fill(topRight,
          line(`${window[0].toUpperCase()}${window.slice(1)} window`),
          line(`${fixed(low, 0)} to ${fixed(high, 0)} HU`, "more-text"));
        showPlace(state, slice);
      }
    },
  };
}

/**
 * The number and the height of a slice.
 *
 * @param {Stack} stack
 * @param {number} slice
 */
export function sliceTexts(stack, slice) {
  const height = stack.height(slice);
  return [
    stack.count > 1 ? `Slice ${slice + 1} / ${stack.count}` : "",
    height === null ? "" : `z ${millimetres(height)}`,
  ].filter(Boolean);
}

/**
 * How far a slice is from a stack's own.
 *
 * @param {Stack} stack
 * @param {number} slice
 */
function offsetText(stack, slice) {
  const [height, own] = [stack.height(slice), stack.height(stack.own)];
  const steps = slice - stack.own;
  if (height === null || own === null) return `${steps > 0 ? "+" : "\u2212"}${Math.abs(steps)}`;
  return `${height > own ? "+" : ""}${millimetres(height - own)}`;
}

/** @param {string} text @param {string} [className] */
const line = (text, className) => el("p", { class: className }, text);

/** @param {string} text */
const name = (text) => el("p", { title: text }, el("bdi", {}, short(text, NAME_LENGTH)));
