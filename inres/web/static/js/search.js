/** Runs searches as the query and the options change; the last one counts. */

/** @typedef {import("./state.js").Store} Store */
/** @typedef {import("./types.js").State} State */
/** @typedef {import("./types.js").SearchOptions} SearchOptions */

import { isCancelled, postSearch } from "./api.js";
import { whereOf } from "./where.js";

const BURST_MS = 250;
const MOVING_MS = 60;
const TYPING_MS = 250;

/**
 * The options to send: those that differ from the archive's defaults, with the filters.
 *
 * @param {State} state
 * @returns {SearchOptions}
 */
export function optionsOf({ given, filters, archive }) {
  const where = whereOf(filters, archive?.columns ?? []);
  return where ? { ...given, where } : { ...given };
}

/**
 * The body of a search, or null while no query is complete.
 *
 * @param {State} state
 */
export function bodyOf(state) {
  const { query } = state;
  if (!query || (query.kind === "scan" && !query.world)) return null;
  const { kind } = query;
  const sent = kind === "scan" ? { scan: query.scan, world_mm: query.world }
    : kind === "item" ? { item: query.item } : { image: query.image };
  return { query: sent, options: optionsOf(state) };
}

/**
 * @param {Store} store
 * @param {(error: import("./api.js").ApiError) => boolean} onFailure  Whether it is dealt with.
 */
export function createSearch(store, onFailure) {
  /** @type {?AbortController} */
  let running = null;
  let timer = 0;
  let movedAt = 0;
  let sent = "";

  async function run() {
    running?.abort();
    const body = bodyOf(store.get());
    if (!body) return;
    const controller = new AbortController();
    running = controller;
    sent = JSON.stringify(body);
    store.set({ status: "searching" });
    try {
      const answer = await postSearch(body, controller.signal);
      if (running === controller) store.set({ status: "done", answer, failure: null });
    } catch (error) {
      if (isCancelled(error) || running !== controller) return;
      sent = "";
      const failure = /** @type {any} */ (error);
      if (onFailure(failure)) store.set({ status: "idle", answer: null });
      else store.set({ status: "failed", answer: null, failure });
    }
  }

  /** @param {number} wait */
  function soon(wait) {
    clearTimeout(timer);
    if (wait) timer = window.setTimeout(run, wait);
    else run();
  }

  store.watch(["query", "given", "filters"], (now, before) => {
    const body = bodyOf(now);
    if (!body) {
      clearTimeout(timer);
      running?.abort();
      sent = "";
      if (now.status !== "idle" || now.answer) {
        store.set({ status: "idle", answer: null, failure: null });
      }
      return;
    }
    if (JSON.stringify(body) === sent) return;
    if (now.query === before.query) return soon(TYPING_MS);
    const bursting = performance.now() - movedAt < BURST_MS;
    movedAt = performance.now();
    soon(bursting ? MOVING_MS : 0);
  });

  return {
    /** Runs the present search once more. */
    again() {
      sent = "";
      soon(0);
    },
  };
}
