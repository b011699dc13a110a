/**
 * Mouse, wheel and touch on a slice.
 *
 * Mouse: the wheel scrolls, with Ctrl it zooms; the left button points, the others move the image.
 * Touch: a tap points, one finger scrolls up and down, two fingers zoom and move.
 */

/**
 * @typedef {Object} Handlers
 * @property {(steps: number) => void} onScroll  Slices, upwards positive.
 * @property {(x: number, y: number, phase: "start"|"move"|"end") => void} [onPoint]  CSS pixels.
 * @property {(factor: number, x: number, y: number) => void} [onZoom]
 * @property {(dx: number, dy: number) => void} [onPan]
 */

const NOTCH = 100;
const TRACKPAD_STEP = 30;
const TOUCH_STEP = 11;
const TAP_DISTANCE = 8;
const TAP_MS = 350;
const ZOOM_PER_NOTCH = 1.25;

/**
 * @param {HTMLElement} surface
 * @param {Handlers} handlers
 */
export function listen(surface, { onScroll, onPoint, onZoom, onPan }) {
  /** @type {Map<number, {x: number, y: number}>} */
  const fingers = new Map();
  let rolled = 0;
  let dragged = 0;
  let travelled = 0;
  let pressedAt = 0;
  let several = false;
  /** @type {""|"point"|"pan"|"touch"} */
  let mode = "";

  const at = (event) => {
    const box = surface.getBoundingClientRect();
    return { x: event.clientX - box.left, y: event.clientY - box.top };
  };
  const spread = () => {
    const [a, b] = [...fingers.values()];
    return { distance: Math.hypot(a.x - b.x, a.y - b.y), x: (a.x + b.x) / 2, y: (a.y + b.y) / 2 };
  };

  surface.addEventListener("wheel", (event) => {
    event.preventDefault();
    const { x, y } = at(event);
    const pixels = event.deltaMode === 1 ? event.deltaY * (NOTCH / 3) : event.deltaY;
    if (event.ctrlKey || event.metaKey) {
      const notches = Math.min(Math.abs(pixels) / NOTCH, 1) * -Math.sign(pixels);
      onZoom?.(ZOOM_PER_NOTCH ** notches, x, y);
      return;
    }
    if (Math.sign(pixels) !== Math.sign(rolled)) rolled = 0;
    if (Math.abs(pixels) >= NOTCH * 0.8) {
      rolled = 0;
      // A browser joins notches that follow each other fast.
      onScroll(-Math.round(pixels / NOTCH));
      return;
    }
    rolled += pixels;
    const steps = Math.trunc(rolled / TRACKPAD_STEP);
    rolled -= steps * TRACKPAD_STEP;
    if (steps) onScroll(-steps);
  }, { passive: false });

  surface.addEventListener("pointerdown", (event) => {
    const point = at(event);
    surface.setPointerCapture(event.pointerId);
    if (event.pointerType === "touch") {
      fingers.set(event.pointerId, point);
      several = fingers.size > 1;
      if (fingers.size === 1) {
        [mode, dragged, travelled, pressedAt] = ["touch", 0, 0, event.timeStamp];
      }
      return;
    }
    if (event.button === 0) {
      mode = "point";
      onPoint?.(point.x, point.y, "start");
    } else {
      mode = "pan";
      event.preventDefault();
    }
    fingers.set(event.pointerId, point);
  });

  surface.addEventListener("pointermove", (event) => {
    const before = fingers.get(event.pointerId);
    if (!before) return;
    const point = at(event);
    const [dx, dy] = [point.x - before.x, point.y - before.y];
    if (mode === "touch" && fingers.size === 2) {
      const old = spread();
      fingers.set(event.pointerId, point);
      const now = spread();
      if (old.distance) onZoom?.(now.distance / old.distance, now.x, now.y);
      onPan?.(now.x - old.x, now.y - old.y);
      return;
    }
    fingers.set(event.pointerId, point);
    if (mode === "touch" && !several) {
      travelled += Math.hypot(dx, dy);
      dragged -= dy;
      const steps = travelled > TAP_DISTANCE ? Math.trunc(dragged / TOUCH_STEP) : 0;
      dragged -= steps * TOUCH_STEP;
      if (steps) onScroll(steps);
    } else if (mode === "point") onPoint?.(point.x, point.y, "move");
    else if (mode === "pan") onPan?.(dx, dy);
  });

  const release = (event) => {
    if (!fingers.delete(event.pointerId)) return;
    const { x, y } = at(event);
    const lifted = event.type === "pointerup";
    if (mode === "point" && lifted) onPoint?.(x, y, "end");
    const tapped = travelled < TAP_DISTANCE && event.timeStamp - pressedAt < TAP_MS;
    if (mode === "touch" && lifted && !several && tapped) {
      onPoint?.(x, y, "start");
      onPoint?.(x, y, "end");
    }
    if (!fingers.size) mode = "";
  };
  surface.addEventListener("pointerup", release);
  surface.addEventListener("pointercancel", release);
  surface.addEventListener("contextmenu", (event) => event.preventDefault());
}
