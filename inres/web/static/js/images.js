/**
 * Decoded images: a cache of limited size, and requests in the order in which they are wanted.
 *
 * Several views share it. Each says which images it wants, the most urgent first; images that
 * nobody wants any more are not waited for, and are the first to be dropped.
 */

import { ApiError, getBitmap, isCancelled } from "./api.js";

/** Browsers open six connections to a server; two are left for searches. */
const PARALLEL = 4;
const TRIES = 3;
const RETRY_MS = 600;
const BYTES_PER_PIXEL = 4;

/**
 * @param {number} maxBytes  Size of all decoded images together.
 * @param {(url: string, signal: AbortSignal) => Promise<ImageBitmap>} [load]
 */
export function createImages(maxBytes, load = getBitmap) {
  /** @type {Map<string, ImageBitmap>}  By last use, the oldest first. */
  const kept = new Map();
  /** @type {Map<string, AbortController>} */
  const running = new Map();
  /** @type {Map<string, {tries: number, error: ApiError}>} */
  const failed = new Map();
  /** @type {Map<object, string[]>} */
  const wishes = new Map();
  /** @type {Set<(url: string, error: ?ApiError) => void>} */
  const listeners = new Set();
  let bytes = 0;

  const sizeOf = (image) => image.width * image.height * BYTES_PER_PIXEL;
  const wanted = () => new Set([...wishes.values()].flat());

  function drop() {
    if (bytes <= maxBytes) return;
    const needed = wanted();
    for (const [url, image] of kept) {
      if (bytes <= maxBytes) return;
      if (needed.has(url)) continue;
      kept.delete(url);
      bytes -= sizeOf(image);
      image.close();
    }
  }

  /** @param {string} url */
  async function fetchOne(url) {
    const controller = new AbortController();
    running.set(url, controller);
    /** @type {?ApiError} */
    let error = null;
    try {
      const image = await load(url, controller.signal);
      kept.set(url, image);
      bytes += sizeOf(image);
      failed.delete(url);
      drop();
    } catch (problem) {
      if (!isCancelled(problem)) {
        error = problem instanceof ApiError ? problem : new ApiError(String(problem), 0);
        const tries = (failed.get(url)?.tries ?? 0) + 1;
        const final = tries >= TRIES || (error.status >= 400 && error.status < 500);
        failed.set(url, { tries: final ? TRIES : tries, error });
        if (!final) {
          setTimeout(pump, RETRY_MS * tries);
          error = null;
        }
      }
    }
    running.delete(url);
    if (kept.has(url) || error) listeners.forEach((listener) => listener(url, error));
    pump();
  }

  function pump() {
    const lists = [...wishes.values()];
    const longest = Math.max(0, ...lists.map((list) => list.length));
    for (let at = 0; at < longest && running.size < PARALLEL; at += 1) {
      for (const list of lists) {
        const url = list[at];
        const known = !url || kept.has(url) || running.has(url);
        if (!known && (failed.get(url)?.tries ?? 0) < TRIES && running.size < PARALLEL) {
          fetchOne(url);
        }
      }
    }
  }

  return {
    /** @param {string} url */
    get(url) {
      const image = kept.get(url);
      if (!image) return null;
      kept.delete(url);
      kept.set(url, image);
      return image;
    },

    /**
     * Replaces the list of images that a view wants; the most urgent first.
     *
     * @param {object} view
     * @param {string[]} urls
     */
    want(view, urls) {
      if (urls.length) wishes.set(view, urls);
      else wishes.delete(view);
      const needed = wanted();
      for (const [url, controller] of running) if (!needed.has(url)) controller.abort();
      pump();
    },

    /** Forgets failures, so that wanted images are requested again. */
    retry() {
      failed.clear();
      pump();
    },

    /** @param {(url: string, error: ?ApiError) => void} listener */
    listen(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },

    bytes: () => bytes,
  };
}

/** @typedef {ReturnType<typeof createImages>} Images */

/** Bytes for decoded images on this machine: slices of 512 x 512 take one MiB each. */
export function budget() {
  const memory = /** @type {any} */ (navigator).deviceMemory ?? 4;
  return (memory >= 4 ? 256 : 96) * 2 ** 20;
}
