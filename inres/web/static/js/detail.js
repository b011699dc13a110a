/** A result side by side with the query: slices that scroll together, properties and record. */

/** @typedef {import("./state.js").Store} Store */
/** @typedef {import("./types.js").Hit} Hit */
/** @typedef {import("./types.js").Item} Item */
/** @typedef {import("./types.js").Scan} Scan */
/** @typedef {import("./types.js").Vector} Vector */
/** @typedef {import("./stacks.js").Stack} Stack */

import * as api from "./api.js";
import { createComparison } from "./comparison.js";
import { button, byId, data, el, fill } from "./dom.js";
import { cell, distance, fixed, measured, millimetres, NO_CLASS, place, short } from "./format.js";
import { clamp } from "./geometry.js";
import { icon, mark } from "./icons.js";
import { closeOnBackdrop, isTyping } from "./keys.js";
import { byName, VERDICTS } from "./respects.js";
import { itemStack, pictureStack, scanStack } from "./stacks.js";
import { stackOf } from "./viewer.js";

/** Side in mm of what the network sees, where that is not known. */
const SIDE_MM = 48;
/** What both panes show, as a multiple of it. */
const MARGIN = 1.5;
const ZOOM = 1.25;
const PAGE = 5;
const POLL_MS = 250;

/**
 * @param {Store} store
 * @param {import("./images.js").Images} images
 * @param {{openItem: (item: number) => void, openSource: Function,
 *   announce: (text: string) => void}} actions
 */
export function createDetail(store, images, { openItem, openSource, announce }) {
  const dialog = byId("detail");
  const comparison = createComparison(images);
  let rank = 0;
  let work = new AbortController();
  /** @type {?Item} */
  let item = null;
  /** @type {?Scan}  The scan that the result is from, if it was loaded. */
  let origin = null;
  /** Id of a scan that was opened for this result alone. */
  let opened = "";

  const hits = () => store.get().answer?.hits ?? [];
  const hit = () => hits().find((one) => one.rank === rank) ?? null;

  // --- stacks ------------------------------------------------------------------------------------

  /** @returns {?Stack} */
  function queryStack() {
    const state = store.get();
    const stack = stackOf(state);
    if (stack) return stack;
    const { archive, answer } = state;
    const side = archive?.item_side_px ?? 1;
    return answer?.query.image
      ? pictureStack([answer.query.image], { rows: side, columns: side }) : null;
  }

  /** @returns {?Stack} */
  function resultStack() {
    if (origin && item) {
      const world = /** @type {Vector} */ (item.origin.world_mm);
      const { window } = store.get();
      return scanStack(origin, origin.windows[window] ? window : Object.keys(origin.windows)[0],
        world);
    }
    return item && itemStack(item);
  }

  function showStacks() {
    const [left, right] = [queryStack(), resultStack()];
    const { pixel_mm: pixel, seen_px: seen } = item?.slices ?? {};
    // An item that has no place in its slices is shown whole, and the query as large.
    const margin = right?.point ? MARGIN : 1;
    comparison.show(left, right, {
      side: (pixel && seen ? pixel * seen : SIDE_MM) * margin,
      // Where one side is a scan, both are shown in its window.
      window: (origin ? right : left)?.window ?? null,
    });
  }

  // --- texts -------------------------------------------------------------------------------------

  /** @param {Hit} shown */
  function describe(shown) {
    const { answer, archive } = store.get();
    const query = answer?.query;
    const size = (value) => (value ? `, ${millimetres(value)}` : "");
    const title = `${shown.class ?? NO_CLASS}${size(shown.diameter_mm)}`;
    byId("detail-title").textContent = `Result ${shown.rank} of ${hits().length}: ${title}`;
    fill(byId("pair-query-caption"), el("strong", {}, "Query"), ` ${query?.predicted?.name ?? ""}`,
      size(query?.diameter_mm),
      el("span", { class: "block muted" }, data(short(query?.name ?? "", 40))));
    fill(byId("pair-result-caption"), el("strong", {}, `Result ${shown.rank}`), ` ${title}`,
      el("span", { class: "block muted" }, data(short(shown.scan, 40))));
    fill(byId("seen-images"),
      query?.image && el("img", { src: query.image, alt: "Query" }),
      el("img", { src: shown.image, alt: `Result ${shown.rank}` }));
    // Not `disabled`, which would take the focus away from them.
    byId("detail-previous").setAttribute("aria-disabled", String(shown.rank <= 1));
    byId("detail-next").setAttribute("aria-disabled", String(shown.rank >= hits().length));
    fill(byId("detail-facts"),
      fact("Hamming distance", `${shown.hamming} of ${archive?.bits} bits`),
      fact("Distance of features", distance(shown.distance)),
      fact("Item", String(shown.item)));
    const known = byName(archive?.properties ?? []);
    const compared = shown.respects.filter(({ query: q, item: i }) => q !== null || i !== null);
    byId("detail-respects-section").hidden = !compared.length;
    fill(byId("detail-respects"), compared.map((one) => el("tr", { class: one.verdict },
      el("th", { scope: "row" }, one.title),
      el("td", {}, measured(one.query, known[one.name])),
      el("td", {}, measured(one.item, known[one.name])),
      el("td", {}, one.difference_sd === null ? "" : fixed(one.difference_sd, 2)),
      el("td", { class: "verdict" }, mark(one.verdict), VERDICTS[one.verdict]))));
    describeRecord(shown.record);
    fill(byId("detail-origin"));
  }

  /** @param {import("./types.js").ItemRecord} record */
  function describeRecord(record) {
    const { item: own } = store.get();
    byId("record-query-head").hidden = !own;
    const names = Object.keys(record).filter((name) => name !== "item");
    const known = (value) => value !== null && value !== undefined && value !== "";
    fill(byId("detail-record"), names
      .filter((name) => known(record[name]) || known(own?.record[name]))
      .map((name) => el("tr", {},
        el("th", { scope: "row" }, data(name)),
        own && el("td", {}, data(cell(own.record[name]))),
        el("td", {}, data(cell(record[name]))))));
  }

  /** @param {Item} shown */
  function describeOrigin(shown) {
    const { scan, world_mm: world } = shown.origin;
    const placed = isPlaced(shown);
    const source = sourceOf(shown);
    fill(byId("detail-origin"),
      el("p", {}, scan ? ["Scan ", data(scan)] : "No scan is known."),
      placed && el("p", { class: "muted" }, `Place ${place(/** @type {Vector} */ (world))} mm`),
      el("p", { class: "muted" }, source ? ["File ", data(`${source.root}/${source.path}`)]
        : "Its file is not below a folder that the server may read (--scans)."),
      el("div", { class: "buttons" },
        source && placed && !origin && button([icon("scan"), "Show the whole scan"],
          () => loadOrigin(source), { id: "load-origin" }),
        source && button([icon("open"), "Open this scan as the query"], () => {
          dialog.close();
          openSource(source, placed ? { world } : {});
        })));
  }

  // --- loading -----------------------------------------------------------------------------------

  /** @param {import("./types.js").Source} source */
  async function loadOrigin(source) {
    const { signal } = work;
    const status = byId("pair-status");
    byId("load-origin")?.setAttribute("disabled", "");
    try {
      status.textContent = "Loading its scan …";
      const open = store.get().scan;
      let scan = open?.source?.root === source.root && open.source.path === source.path
        ? open : null;
      if (!scan) {
        // Not with the signal: the id must be known to close it again.
        const { id } = await api.postScan(source);
        opened = id;
        if (signal.aborted) return forgetOrigin();
        do {
          await new Promise((resolve) => setTimeout(resolve, scan ? POLL_MS : 0));
          scan = await api.getScan(id, signal);
          if (scan.state === "reading" && scan.progress !== null) {
            status.textContent = `Loading its scan, ${fixed(scan.progress * 100, 0)} %`;
          }
        } while (scan.state === "reading");
      }
      if (scan.state === "failed") throw new api.ApiError(scan.error?.message ?? "", 422);
      if (signal.aborted) return;
      origin = scan;
      status.textContent = "";
      showStacks();
      if (item) describeOrigin(item);
      announce("The scan of the result is loaded.");
    } catch (error) {
      if (!api.isCancelled(error)) {
        status.textContent = `Its scan cannot be shown. ${/** @type {Error} */ (error).message}`;
      }
    }
  }

  function forgetOrigin() {
    if (opened) api.deleteScan(opened).catch(() => {});
    opened = "";
    origin = null;
  }

  /** @param {number} wanted  Rank of the result. */
  async function open(wanted) {
    const shown = hits().find((one) => one.rank === wanted);
    if (!shown) return;
    work.abort();
    work = new AbortController();
    const { signal } = work;
    forgetOrigin();
    rank = wanted;
    item = null;
    byId("pair-status").textContent = "";
    if (!dialog.open) dialog.showModal();
    describe(shown);
    showStacks();
    try {
      item = await api.getItem(shown.item, signal);
      describeOrigin(item);
      showStacks();
      const source = sourceOf(item);
      // Without neighbouring slices of its own, the item is shown in its scan.
      if (item.slices.count === 1 && source && isPlaced(item)) await loadOrigin(source);
    } catch (error) {
      if (!api.isCancelled(error)) {
        byId("pair-status").textContent = /** @type {Error} */ (error).message;
      }
    }
  }

  // --- controls ----------------------------------------------------------------------------------

  const step = (by) => {
    const to = clamp(rank + by, 1, hits().length);
    if (to !== rank) open(to);
  };
  const moreLikeThis = () => {
    const shown = hit();
    dialog.close();
    if (shown) openItem(shown.item);
  };
  byId("detail-previous").addEventListener("click", () => step(-1));
  byId("detail-next").addEventListener("click", () => step(1));
  byId("detail-more").addEventListener("click", moreLikeThis);
  byId("detail-close").addEventListener("click", () => dialog.close());
  closeOnBackdrop(dialog);
  dialog.addEventListener("close", () => {
    work.abort();
    forgetOrigin();
    comparison.clear();
    /** @type {any} */ (document.querySelector(`.hit[data-rank="${rank}"] .thumb`))?.focus();
  });

  dialog.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || isTyping(event.target)) return;
    if (event.target.matches("[type=range]") && event.key.startsWith("Arrow")) return;
    const { scroll, zoom } = comparison;
    const presses = {
      ArrowUp: () => scroll(1),
      ArrowDown: () => scroll(-1),
      PageUp: () => scroll(PAGE),
      PageDown: () => scroll(-PAGE),
      Home: () => comparison.go(0),
      ArrowLeft: () => step(-1),
      ArrowRight: () => step(1),
      m: moreLikeThis,
      w: cycleWindow,
      "+": () => zoom(ZOOM),
      "-": () => zoom(1 / ZOOM),
    };
    if (!presses[event.key]) return;
    event.preventDefault();
    event.stopPropagation();
    presses[event.key]();
  });

  function cycleWindow() {
    const { scan, window } = store.get();
    const names = Object.keys((origin ?? scan)?.windows ?? {});
    if (!names.length) return;
    store.set({ window: names[(names.indexOf(window) + 1) % names.length] });
    const kept = comparison.position();
    showStacks();
    comparison.go(kept);
  }

  return { open };
}

/** @param {Item} item  @returns {?import("./types.js").Source} */
function sourceOf({ origin: { available, root, path, series_uid: uid } }) {
  if (!available || !root || path === null) return null;
  return uid ? { root, path, series_uid: uid } : { root, path };
}

/** @param {Item} item */
const isPlaced = ({ origin: { world_mm: world } }) =>
  world.length === 3 && world.every((value) => typeof value === "number");

/** @param {string} title @param {string} value */
const fact = (title, value) => el("div", {}, el("dt", {}, title), el("dd", {}, value));

