/** Two panes side by side that scroll, zoom and move together. */

/** @typedef {import("./stacks.js").Stack} Stack */

import { byId, el, fill } from "./dom.js";
import { millimetres } from "./format.js";
import { clamp } from "./geometry.js";
import { listen } from "./gestures.js";
import { createPane } from "./pane.js";
import { pairOf } from "./pair.js";

/** @param {import("./images.js").Images} images */
export function createComparison(images) {
  const slider = byId("pair-slider");
  const sides = ["query", "result"].map((name) => ({
    surface: byId(`pair-${name}`),
    pane: createPane(byId(`pair-${name}-canvas`), images),
    corner: byId(`pair-${name}-at`),
    /** @type {?Stack} */
    stack: null,
  }));
  let pair = pairOf(null, null);
  let position = 0;

  /** @param {number} to */
  function go(to) {
    position = clamp(to, pair.low, pair.high);
    slider.value = String(position);
    const away = awayText(position, pair.millimetres);
    slider.setAttribute("aria-valuetext", away);
    byId("pair-offset").textContent = away;
    pair.slices(position).forEach(({ slice, beyond }, at) => {
      const { stack, pane, corner, surface } = sides[at];
      if (!stack) return;
      pane.setSlice(slice);
      surface.classList.toggle("beyond", beyond);
      const height = stack.height(slice);
      fill(corner,
        stack.count > 1 && el("p", {}, `Slice ${slice + 1} / ${stack.count}`),
        height !== null && el("p", {}, `z ${millimetres(height)}`),
        beyond && el("p", { class: "end" },
          stack.count > 1 ? "no slice here" : "only its own slice"));
    });
  }

  /** @param {number} steps */
  const scroll = (steps) => go(position + steps);

  /** @param {number} factor @param {number} [x] @param {number} [y] */
  const zoom = (factor, x, y) => sides.forEach(({ pane }) => pane.zoomBy(factor, x, y));

  for (const { surface } of sides) {
    listen(surface, {
      onScroll: scroll,
      onZoom: zoom,
      onPan: (dx, dy) => sides.forEach(({ pane }) => pane.panBy(dx, dy)),
    });
  }
  slider.addEventListener("input", () => go(Number(slider.value)));

  return {
    go,
    scroll,
    zoom,
    position: () => position,

    /**
     * Shows two stacks at their own slices.
     *
     * @param {?Stack} left
     * @param {?Stack} right
     * @param {{side: number, window: ?[number, number]}} view  Side of what is shown around a place
     *   in mm, and the HU that are black and white on both sides, if that is known.
     */
    show(left, right, { side, window }) {
      [sides[0].stack, sides[1].stack] = [left, right];
      pair = pairOf(left, right);
      for (const { stack, pane } of sides) {
        pane.setTone(window);
        pane.setStack(stack, stack?.own ?? 0);
        const point = stack?.point;
        if (stack && point && stack.scaled) pane.zoomTo(point[0], point[1], side);
      }
      slider.min = String(pair.low);
      slider.max = String(pair.high);
      byId("pair-scroll").hidden = pair.low === pair.high;
      byId("pair").classList.toggle("unequal", !(left?.scaled && right?.scaled));
      go(0);
    },

    clear() {
      for (const side of sides) {
        side.stack = null;
        side.pane.setStack(null, 0);
        fill(side.corner);
      }
    },
  };
}

/**
 * How far a position is from the own slices.
 *
 * @param {number} position
 * @param {?number} step  In mm, or null for slices.
 */
function awayText(position, step) {
  if (position === 0) return "own slices";
  if (step === null) return `${position > 0 ? "+" : "\u2212"}${Math.abs(position)}`;
  return `${position > 0 ? "+" : ""}${millimetres(position * step)}`;
}
