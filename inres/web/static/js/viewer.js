/** The query: a scan to scroll and click in, an item with its slices, or a picture. */

/** @typedef {import("./state.js").Store} Store */
/** @typedef {import("./types.js").State} State */
/** @typedef {import("./types.js").Vector} Vector */

import { createCorners, sliceTexts } from "./corners.js";
import { byId, el, fill } from "./dom.js";
import { place } from "./format.js";
import { clamp, inside, parsePlace, toIndex, toWorld } from "./geometry.js";
import { listen } from "./gestures.js";

import { createPane } from "./pane.js";
import { itemStack, pictureStack, scanStack } from "./stacks.js";

const PAGE = 10;
const ZOOM = 1.4;
const LOADING_MS = 150;

/**
 * The stack of the query, or null if there is nothing to show.
 *
 * @param {State} state
 */
export function stackOf(state) {
  const { query, scan, item, picture } = state;
  if (query?.kind === "item") return item && itemStack(item);
  if (query?.kind === "image") return picture && pictureStack(picture.urls, picture);
  return scan && scanStack(scan, state.window, query?.kind === "scan" ? query.world : null);
}

/**
 * @param {Store} store
 * @param {import("./images.js").Images} images
 * @param {{moveTo: (world: Vector) => void, openPanel: () => void,
 *   onExpired: (error: import("./api.js").ApiError) => void,
 *   announce: (text: string) => void}} actions
 */
export function createViewer(store, images, { moveTo, openPanel, onExpired, announce }) {
  const canvas = byId("viewer-canvas");
  const surface = byId("viewport");
  const slider = byId("slice-slider");
  const corners = createCorners(go);
  const loading = byId("viewport-loading");
  let stack = stackOf(store.get());
  let slow = 0;
  /** What is on the canvas, which may not be what is requested yet. */
  let onCanvas = { slice: -1, window: "" };

  const pane = createPane(canvas, images, {
    onShow({ slice }) {
      onCanvas = { slice, window: store.get().window };
      describe();
    },
    onError: onExpired,
    also: (k) => otherWindows().map((name) => urlIn(name, k)),
  });

  const scannable = () => store.get().query?.kind === "scan" && Boolean(store.get().scan);
  const otherWindows = () => {
    const { scan, window } = store.get();
    return scannable() && scan ? Object.keys(scan.windows).filter((name) => name !== window) : [];
  };
  const urlIn = (name, k) =>
    scanStack(/** @type {any} */ (store.get().scan), name, null).url(k);

  // --- moving ------------------------------------------------------------------------------------

  /** @param {number} slice */
  function go(slice) {
    if (stack) store.set({ slice: clamp(Math.round(slice), 0, stack.count - 1) });
  }

  const scroll = (steps) => go(store.get().slice + steps);

  /** @param {number} row @param {number} column */
  function pointTo(row, column) {
    const { scan, slice } = store.get();
    if (!scan || !scannable()) return;
    const index = /** @type {Vector} */ ([
      slice, clamp(row, 0, scan.shape[1] - 1), clamp(column, 0, scan.shape[2] - 1),
    ]);
    moveTo(toWorld(scan.index_to_world, index));
  }

  /** The place on the present slice: where it is on its own, or the middle of the view. */
  function hereOrMiddle() {
    const { scan, query } = store.get();
    if (query?.kind === "scan" && query.world && scan) {
      return toIndex(scan.index_to_world, query.world).slice(1);
    }
    return pane.middle();
  }

  /** @param {number} rows @param {number} columns */
  function nudge(rows, columns) {
    const [row, column] = hereOrMiddle();
    pointTo(row + rows, column + columns);
  }

  /** @param {KeyboardEvent} event */
  function press(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || !stack) return;
    const last = stack.count - 1;
    const moves = event.shiftKey
      ? {
        ArrowUp: () => nudge(-1, 0),
        ArrowDown: () => nudge(1, 0),
        ArrowLeft: () => nudge(0, -1),
        ArrowRight: () => nudge(0, 1),
      }
      : {
        ArrowUp: () => scroll(1),
        ArrowRight: () => scroll(1),
        ArrowDown: () => scroll(-1),
        ArrowLeft: () => scroll(-1),
        PageUp: () => scroll(PAGE),
        PageDown: () => scroll(-PAGE),
        Home: () => go(0),
        End: () => go(last),
        Enter: () => nudge(0, 0),
        0: () => pane.fit(),
      };
    const zooms = { "+": ZOOM, "=": ZOOM, "-": 1 / ZOOM };
    if (zooms[event.key]) pane.zoomBy(zooms[event.key]);
    else if (moves[event.key]) moves[event.key]();
    else return;
    event.preventDefault();
    announce(sliceTexts(stack, store.get().slice).join(", "));
  }

  surface.addEventListener("keydown", press);
  slider.addEventListener("input", () => go(Number(slider.value)));
  listen(canvas, {
    onScroll: scroll,
    onZoom: (factor, x, y) => pane.zoomBy(factor, x, y),
    onPan: (dx, dy) => pane.panBy(dx, dy),
    onPoint(x, y, phase) {
      if (phase === "start") surface.focus({ preventScroll: true });
      if (phase === "end") return;
      const pixel = pane.pixelAt(x, y);
      if (pixel) pointTo(...pixel);
    },
  });

  // --- toolbar -----------------------------------------------------------------------------------

  const windows = byId("windows");
  const goTo = byId("go-to");
  const goToText = byId("go-to-text");
  byId("zoom-in").addEventListener("click", () => pane.zoomBy(ZOOM));
  byId("zoom-out").addEventListener("click", () => pane.zoomBy(1 / ZOOM));
  byId("zoom-fit").addEventListener("click", () => pane.fit());

  goTo.addEventListener("submit", (event) => {
    event.preventDefault();
    const { scan } = store.get();
    const world = parsePlace(goToText.value);
    const index = world && scan && toIndex(scan.index_to_world, world);
    const problem = !world
      ? "Give x, y and z in mm, for example -100.6, 67.3, -231.8."
      : !index || !scan || !inside(scan, index) ? "This place is outside the scan." : "";
    goToText.setCustomValidity(problem);
    goToText.reportValidity();
    if (problem || !index || !world) return;
    go(index[0]);
    moveTo(world);
  });
  goToText.addEventListener("input", () => goToText.setCustomValidity(""));

  function drawWindows({ scan, window }) {
    const names = scan && scannable() ? Object.keys(scan.windows) : [];
    windows.hidden = names.length < 2;
    fill(windows, names.map((name) => el("label", { class: "choice" },
      el("input", {
        type: "radio", name: "window", value: name, checked: name === window,
        on: { change: () => store.set({ window: name }) },
      }),
      el("span", {}, name[0].toUpperCase() + name.slice(1)),
    )));
  }

  function cycleWindow() {
    const { scan, window } = store.get();
    if (!scan || !scannable()) return;
    const names = Object.keys(scan.windows);
    const next = names[(names.indexOf(window) + 1) % names.length];
    store.set({ window: next });
    announce(`${next} window`);
  }

  // --- what is shown -----------------------------------------------------------------------------

  /** The slider shows the slice that is requested, the texts in the corners what is drawn. */
  function describe() {
    const state = store.get();
    if (!stack) return;
    clearTimeout(slow);
    loading.hidden = true;
    if (!images.get(stack.url(state.slice))) {
      slow = setTimeout(() => { loading.hidden = false; }, LOADING_MS);
    }
    slider.hidden = stack.count < 2;
    slider.max = String(stack.count - 1);
    slider.value = String(state.slice);
    slider.setAttribute("aria-valuetext", sliceTexts(stack, state.slice).join(", ") || "Slice 1");
    corners.show(state, stack, onCanvas.slice < 0 ? state : onCanvas);
    const world = state.query?.kind === "scan" ? state.query.world : null;
    if (world && document.activeElement !== goToText) goToText.value = place(world);
  }

  function show() {
    const state = store.get();
    const next = stackOf(state);
    const sameGrid = Boolean(stack && next && gridKey(state) === grid);
    const changed = next?.key !== stack?.key;
    stack = next;
    surface.classList.toggle("placeable", scannable());
    surface.classList.toggle("oriented", state.query?.kind !== "image");
    goTo.hidden = !scannable();
    if (changed) {
      if (!sameGrid) onCanvas = { slice: -1, window: "" };
      grid = gridKey(state);
      pane.setStack(next, clamp(state.slice, 0, (next?.count ?? 1) - 1), { fit: !sameGrid });
      if (next && !sameGrid && next.point && state.query?.kind === "item" && next.scaled) {
        pane.zoomTo(...next.point, Math.min(160, next.rows * next.spacing[0]));
      }
    } else pane.setSlice(state.slice);
    const point = next?.point;
    pane.setMarker(point && next ? { slice: next.own, row: point[0], column: point[1] } : null);
    describe();
  }
  let grid = "";

  store.watch(["scan", "window", "query"], drawWindows);
  store.watch(["scan", "query", "item", "picture", "window", "slice"], show);
  byId("viewer-open").addEventListener("click", openPanel);

  return { cycleWindow, scroll, focus: () => surface.focus(), fit: () => pane.fit() };
}

/** What must stay the same for the zoom to stay. */
const gridKey = ({ query, scan, item, picture }) => (
  query?.kind === "item" ? `item ${item?.item}`
    : query?.kind === "image" ? `picture ${picture?.urls[0]}` : `scan ${scan?.id}`
);
