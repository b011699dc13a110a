/** Draws one slice of a stack on a canvas: to scale, zoomed and moved, with the place marked. */

/** @typedef {import("./stacks.js").Stack} Stack */
/** @typedef {import("./images.js").Images} Images */

import { around } from "./stacks.js";
import { createTones } from "./tones.js";
import { clamp } from "./geometry.js";

const AHEAD = 12;
const MAX_ZOOM = 24;
/** Lengths of the scale bar in mm. */
const BARS = [1, 2, 5, 10, 20, 50, 100, 200];
const BAR_SHARE = 0.28;
/** Width of a canvas in CSS pixels from which on there is room for it. */
const BAR_WIDTH = 380;

/**
 * @typedef {Object} Shown
 * @property {number} slice  The slice that is on the canvas.
 * @property {number} wanted  The slice that was requested last; the same unless it is loading.
 */

/**
 * @param {HTMLCanvasElement} canvas
 * @param {Images} images
 * @param {{onShow?: (shown: Shown) => void, onError?: (error: import("./api.js").ApiError) => void,
 *   also?: (k: number) => string[]}} [handlers]  `also` names further images worth loading.
 */
export function createPane(canvas, images, { onShow, onError, also } = {}) {
  const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
  const view = { zoom: 1, x: 0, y: 0 };
  const tones = createTones();
  /** @type {?[number, number]}  The window to show the slices in, if they have another one. */
  let tone = null;
  /** @type {?Stack} */
  let stack = null;
  let wanted = 0;
  let shown = -1;
  let shownUrl = "";
  let direction = 1;
  let frame = 0;
  /** @type {?{slice: number, row: number, column: number}} */
  let marker = null;
  let width = 0;
  let height = 0;

  function request() {
    if (!frame) frame = requestAnimationFrame(draw);
  }

  /** Device pixels per mm. */
  function scale() {
    if (!stack || !width || !height) return 1;
    const fit = Math.min(
      width / (stack.columns * stack.spacing[1]), height / (stack.rows * stack.spacing[0]),
    );
    return fit * view.zoom;
  }

  /** @param {number} row @param {number} column  In pixels of the slice. */
  function toCanvas(row, column) {
    const [dy, dx] = /** @type {Stack} */ (stack).spacing;
    const k = scale();
    return [
      width / 2 + ((column + 0.5) * dx - view.x) * k,
      height / 2 + ((row + 0.5) * dy - view.y) * k,
    ];
  }

  /** Keeps at least a part of the slice in view; a slice that fits stays in the middle. */
  function keepInView() {
    if (!stack) return;
    const k = scale();
    for (const [axis, length, pixels] of /** @type {const} */ ([
      ["x", stack.columns * stack.spacing[1], width], ["y", stack.rows * stack.spacing[0], height],
    ])) {
      const half = pixels / 2 / k;
      const [low, high] = length > 2 * half ? [half, length - half] : [length / 2, length / 2];
      view[axis] = clamp(view[axis], low, high);
    }
  }

  function wish() {
    if (!stack) return images.want(canvas, []);
    const { url, count } = stack;
    const list = around(count, wanted, direction, AHEAD).map(url);
    // What is on the canvas stays, so that it can be drawn again.
    images.want(canvas, [...list, ...(also?.(wanted) ?? []), shownUrl].filter(Boolean));
  }

  function draw() {
    frame = 0;
    if (!stack || !width || !height) return;
    const url = stack.url(wanted);
    let image = images.get(url);
    if (image && (shown !== wanted || shownUrl !== url)) {
      shown = wanted;
      shownUrl = url;
      onShow?.({ slice: shown, wanted });
    }
    image ??= shownUrl ? images.get(shownUrl) : null;
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, width, height);
    if (!image) return;
    const [left, top] = toCanvas(-0.5, -0.5);
    const [right, bottom] = toCanvas(stack.rows - 0.5, stack.columns - 0.5);
    context.imageSmoothingEnabled = true;
    context.imageSmoothingQuality = "high";
    const window = stack.window;
    const drawn = tone && window && String(tone) !== String(window)
      ? tones.map(shownUrl, image, window, tone) : image;
    context.drawImage(drawn, left, top, right - left, bottom - top);
    if (stack.scaled && canvas.clientWidth >= BAR_WIDTH) drawBar();
    if (marker) drawMarker();
  }

  function drawBar() {
    const k = scale();
    const ratio = devicePixelRatio || 1;
    const length = BARS.filter((mm) => mm * k <= width * BAR_SHARE).at(-1);
    if (!length) return;
    const [x, y] = [width / 2 - (length * k) / 2, height - 10 * ratio];
    const tick = 4 * ratio;
    context.beginPath();
    context.moveTo(x, y - tick);
    context.lineTo(x, y);
    context.lineTo(x + length * k, y);
    context.lineTo(x + length * k, y - tick);
    outlined("#e6edf3", 1.25 * ratio);
    context.font = `${11 * ratio}px system-ui, sans-serif`;
    context.textAlign = "center";
    context.lineWidth = 3 * ratio;
    context.strokeStyle = "#000000b0";
    context.strokeText(`${length} mm`, width / 2, y - 5 * ratio);
    context.fillStyle = "#e6edf3";
    context.fillText(`${length} mm`, width / 2, y - 5 * ratio);
  }

  /** @param {string} color @param {number} line */
  function outlined(color, line) {
    context.strokeStyle = "#000000b0";
    context.lineWidth = line * 2.6;
    context.stroke();
    context.strokeStyle = color;
    context.lineWidth = line;
    context.stroke();
  }

  function drawMarker() {
    const { slice, row, column } = /** @type {NonNullable<typeof marker>} */ (marker);
    const [x, y] = toCanvas(row, column).map((value) => Math.round(value) + 0.5);
    const ratio = devicePixelRatio || 1;
    const here = slice === shown;
    const [gap, arm] = [11 * ratio, 13 * ratio];
    context.save();
    context.globalAlpha = here ? 1 : 0.55;
    context.setLineDash(here ? [] : [2 * ratio, 3 * ratio]);
    context.beginPath();
    for (const [dx, dy] of [[1, 0], [-1, 0], [0, 1], [0, -1]]) {
      context.moveTo(x + dx * gap, y + dy * gap);
      context.lineTo(x + dx * (gap + arm), y + dy * (gap + arm));
    }
    outlined("#ffd24d", 1.5 * ratio);
    context.restore();
  }

  const stopListening = images.listen((url, error) => {
    if (!stack) return;
    if (error && url === stack.url(wanted)) onError?.(error);
    else if (url === stack.url(wanted)) request();
  });

  const watcher = new ResizeObserver(() => {
    const ratio = devicePixelRatio || 1;
    [width, height] = [
      Math.round(canvas.clientWidth * ratio), Math.round(canvas.clientHeight * ratio),
    ];
    if (canvas.width !== width) canvas.width = width;
    if (canvas.height !== height) canvas.height = height;
    keepInView();
    request();
  });
  watcher.observe(canvas);

  return {
    /**
     * Shows another stack, or the same in another window; `fit` shows all of its slice.
     *
     * @param {?Stack} next
     * @param {number} slice
     * @param {{fit?: boolean}} [options]
     */
    setStack(next, slice, { fit = true } = {}) {
      stack = next;
      wanted = slice;
      if (fit || !next) {
        shown = -1;
        shownUrl = "";
      }
      if (next && fit) this.fit();
      wish();
      request();
    },

    /** @param {number} slice */
    setSlice(slice) {
      if (!stack || slice === wanted) return;
      direction = slice > wanted ? 1 : -1;
      wanted = slice;
      wish();
      request();
    },

    /**
     * Shows slices of another window in this one; null shows them as they are.
     *
     * @param {?[number, number]} window  The HU that are black and white.
     */
    setTone(window) {
      tone = window;
      request();
    },

    /** @param {?{slice: number, row: number, column: number}} place */
    setMarker(place) {
      marker = place;
      request();
    },

    fit() {
      if (!stack) return;
      view.zoom = 1;
      view.x = (stack.columns * stack.spacing[1]) / 2;
      view.y = (stack.rows * stack.spacing[0]) / 2;
      request();
    },

    /**
     * Shows a square of the slice around a point.
     *
     * @param {number} row
     * @param {number} column
     * @param {number} side  In mm, or in pixels if the spacing is unknown.
     */
    zoomTo(row, column, side) {
      if (!stack) return;
      const whole = Math.max(stack.rows * stack.spacing[0], stack.columns * stack.spacing[1]);
      view.zoom = clamp(whole / side, 1, MAX_ZOOM);
      view.x = (column + 0.5) * stack.spacing[1];
      view.y = (row + 0.5) * stack.spacing[0];
      keepInView();
      request();
    },

    /**
     * Zooms around a point of the canvas that stays where it is.
     *
     * @param {number} factor
     * @param {number} [x]  In CSS pixels; by default the middle.
     * @param {number} [y]
     */
    zoomBy(factor, x = canvas.clientWidth / 2, y = canvas.clientHeight / 2) {
      const ratio = devicePixelRatio || 1;
      const [px, py] = [x * ratio - width / 2, y * ratio - height / 2];
      const before = scale();
      view.zoom = clamp(view.zoom * factor, 1, MAX_ZOOM);
      const after = scale();
      view.x += px / before - px / after;
      view.y += py / before - py / after;
      keepInView();
      request();
    },

    /** @param {number} dx  In CSS pixels. @param {number} dy */
    panBy(dx, dy) {
      const k = scale() / (devicePixelRatio || 1);
      view.x -= dx / k;
      view.y -= dy / k;
      keepInView();
      request();
    },

    /**
     * The pixel of the slice under a point of the canvas in CSS pixels, or null if it is beside.
     *
     * @param {number} x
     * @param {number} y
     * @returns {?[number, number]} Row and column.
     */
    pixelAt(x, y) {
      if (!stack) return null;
      const ratio = devicePixelRatio || 1;
      const k = scale();
      const column = ((x * ratio - width / 2) / k + view.x) / stack.spacing[1] - 0.5;
      const row = ((y * ratio - height / 2) / k + view.y) / stack.spacing[0] - 0.5;
      const beside = row < -0.5 || column < -0.5 || row > stack.rows - 0.5
        || column > stack.columns - 0.5;
      return beside ? null : [row, column];
    },

    /** The pixel in the middle of the canvas. @returns {[number, number]} */
    middle() {
      const { spacing } = /** @type {Stack} */ (stack);
      return [view.y / spacing[0] - 0.5, view.x / spacing[1] - 0.5];
    },

    zoom: () => view.zoom,
    wanted: () => wanted,

    close() {
      images.want(canvas, []);
      stopListening();
      watcher.disconnect();
      cancelAnimationFrame(frame);
      stack = null;
    },
  };
}

/** @typedef {ReturnType<typeof createPane>} Pane */
