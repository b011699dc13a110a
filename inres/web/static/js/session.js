/** What the user does: open a scan, an item or a picture, and move the place. */

/** @typedef {import("./state.js").Store} Store */
/** @typedef {import("./types.js").Scan} Scan */
/** @typedef {import("./types.js").Source} Source */
/** @typedef {import("./types.js").Vector} Vector */
/** @typedef {import("./files.js").Named} Named */

import * as api from "./api.js";
import { nameOf } from "./files.js";
import { counted, size } from "./format.js";
import { clamp, toIndex } from "./geometry.js";

const POLL_MS = 200;
/** A scan that is closed again within this time is not opened by itself. */
const REOPEN_MS = 15_000;
/** Scans that stay open on the server for going back. */
const KEPT_SCANS = 3;

/**
 * What to show of a scan once it is open.
 *
 * @typedef {{world?: ?Vector, slice?: ?number, window?: ?string}} Start
 */

/** @param {Source} source */
const keyOf = ({ root, path, series_uid: uid }) => JSON.stringify([root, path, uid ?? ""]);

/**
 * @param {Store} store
 * @param {{announce: (text: string) => void, onFailure: (error: api.ApiError) => boolean}} page
 */
export function createSession(store, { announce, onFailure }) {
  /** @type {AbortController} */
  let work = new AbortController();
  /** @type {string[]}  Ids, the last opened at the end. */
  let open = [];
  /** @type {Map<string, string>}  Ids by source. */
  const known = new Map();
  let reopenedAt = -REOPEN_MS;

  /** Starts something new; what was on its way is cancelled. */
  function begin() {
    work.abort();
    work = new AbortController();
    return work.signal;
  }

  /** @param {any} error @param {string} what */
  function fail(error, what) {
    if (api.isCancelled(error)) return;
    store.set({ opening: null });
    if (onFailure(error)) return;
    store.set({ problem: { what, message: error.message, fix: error.fix }, pane: "open" });
    announce(`${what}. ${error.message}`);
  }

  /** @param {Source} source */
  const titleOf = ({ root, path }) => path.split("/").at(-1) || root;

  /**
   * @param {string} id
   * @param {AbortSignal} signal
   * @param {string} [name]  By default, what the server calls it.
   * @returns {Promise<Scan>}
   */
  async function ready(id, signal, name) {
    for (;;) {
      const scan = await api.getScan(id, signal);
      if (scan.state === "ready") return scan;
      if (scan.state === "failed") {
        throw new api.ApiError(scan.error?.message ?? "The scan cannot be read.", 422,
          scan.error?.fix);
      }
      store.set({
        opening: {
          name: name ?? scan.name, phase: "reading", progress: scan.progress, message: scan.message,
        },
      });
      await new Promise((resolve) => setTimeout(resolve, POLL_MS));
      signal.throwIfAborted();
    }
  }

  /** @param {string} id */
  function keep(id) {
    open = [...open.filter((one) => one !== id), id];
    for (const old of open.slice(0, -KEPT_SCANS)) {
      api.deleteScan(old).catch(() => {});
      for (const [key, value] of known) if (value === old) known.delete(key);
    }
    open = open.slice(-KEPT_SCANS);
  }

  /** @param {Scan} scan @param {Start} start */
  function show(scan, { world, slice, window }) {
    keep(scan.id);
    const index = world && toIndex(scan.index_to_world, world);
    const at = slice ?? (index ? index[0] : Math.floor(scan.shape[0] / 2));
    store.set({
      opening: null, problem: null, pane: "view", scan, item: null, picture: null,
      query: { kind: "scan", scan: scan.id, world: world ?? null },
      slice: clamp(Math.round(at), 0, scan.shape[0] - 1),
      window: window && scan.windows[window] ? window : Object.keys(scan.windows)[0],
    });
    announce(`${scan.name} is open, ${counted(scan.shape[0], "slice")}.`);
  }

  /**
   * @param {Source} source
   * @param {Start} [start]
   */
  async function openSource(source, start = {}) {
    const signal = begin();
    const key = keyOf(source);
    store.set({
      problem: null,
      opening: { name: titleOf(source), phase: "reading", progress: null, message: "" },
    });
    try {
      /** @type {?Scan} */
      let scan = null;
      const before = known.get(key);
      if (before) {
        try {
          scan = await ready(before, signal);
        } catch (error) {
          if (api.isCancelled(error)) throw error;
          known.delete(key);
        }
      }
      if (!scan) {
        const { id } = await api.postScan(source, signal);
        scan = await ready(id, signal);
        known.set(key, id);
      }
      show({ ...scan, source }, start);
    } catch (error) {
      fail(error, `${titleOf(source)} cannot be opened`);
    }
  }

  /**
   * Opens a scan that this page uploaded before, while the server still has it.
   *
   * @param {string} id
   * @param {string} name
   * @param {Start} start
   */
  async function openAgain(id, name, start) {
    const signal = begin();
    store.set({ problem: null });
    try {
      show({ ...await ready(id, signal, name), name }, start);
    } catch (error) {
      if (api.isCancelled(error)) return;
      needUpload(name);
    }
  }

  /** @param {string} name  Of an upload that is gone. */
  function needUpload(name) {
    store.set({
      opening: null,
      pane: "open",
      problem: {
        what: `${name} must be uploaded again`,
        message: "Uploads stay on the server for a short time only, and a link does not hold them.",
      },
    });
  }

  /** @param {string} uid  Of another series of the scan that is open. */
  async function openSeries(uid) {
    const { scan } = store.get();
    if (!scan) return;
    if (scan.source) {
      await openSource({ root: scan.source.root, path: scan.source.path, series_uid: uid });
      return;
    }
    const signal = begin();
    try {
      const { id } = await api.postScan({ scan: scan.id, series_uid: uid }, signal);
      show({ ...await ready(id, signal), name: scan.name }, {});
    } catch (error) {
      fail(error, `The series of ${scan.name} cannot be opened`);
    }
  }

  /** @param {Named[]} files */
  async function openFiles(files) {
    const { archive } = store.get();
    if (!files.length || !archive) return;
    const signal = begin();
    const name = nameOf(files);
    try {
      requireSize(files, archive.limits);
      const report = (progress) => store.set({
        opening: {
          name, phase: "uploading", progress,
          message: progress < 1 ? `${counted(files.length, "file")}, ${size(total(files))}`
            : "checking the files",
        },
      });
      store.set({ problem: null });
      report(0);
      const { id, kind } = await api.upload(files, report, signal);
      if (kind === "image") await showPictures(id, name, files);
      else show({ ...await ready(id, signal, name), name }, {});
    } catch (error) {
      fail(error, `${name} cannot be opened`);
    }
  }

  /** @param {string} id @param {string} name @param {Named[]} files */
  async function showPictures(id, name, files) {
    const sorted = [...files].sort((a, b) => a.name.localeCompare(b.name, "en", { numeric: true }));
    /** @type {?import("./types.js").Picture} */
    let picture = null;
    try {
      const image = await createImageBitmap(sorted[0].file);
      picture = {
        urls: sorted.map(({ file }) => URL.createObjectURL(file)),
        rows: image.height,
        columns: image.width,
      };
      image.close();
    } catch {
      // A format that the server can read and this browser cannot, such as TIFF.
    }
    store.get().picture?.urls.forEach((url) => URL.revokeObjectURL(url));
    store.set({
      opening: null, problem: null, pane: "view", item: null, picture,
      slice: Math.floor(sorted.length / 2), query: { kind: "image", image: id, name },
    });
  }

  /** @param {number} number */
  async function openItem(number) {
    const signal = begin();
    store.set({ problem: null });
    try {
      const item = await api.getItem(number, signal);
      store.set({
        opening: null, pane: "view", item, picture: null, slice: item.slices.own,
        query: { kind: "item", item: number },
      });
    } catch (error) {
      fail(error, `Item ${number} cannot be opened`);
    }
  }

  /** @param {Vector} world */
  function moveTo(world) {
    const { query } = store.get();
    if (query?.kind === "scan") store.set({ query: { ...query, world } });
  }

  /** Opens the scan once more after the server has closed it. */
  function reopen() {
    const { scan, query, slice, window } = store.get();
    if (!scan || query?.kind !== "scan") return;
    known.clear();
    const start = { world: query.world, slice, window };
    if (!scan.source) needUpload(scan.name);
    else if (performance.now() - reopenedAt > REOPEN_MS) {
      reopenedAt = performance.now();
      openSource(scan.source, start);
    } else {
      store.set({ pane: "open", problem: {
        what: `${scan.name} is not open any more`,
        message: "The server has closed it, maybe because many scans are open there.",
      } });
    }
  }

  /** Shows the scan again that was open before an item or a picture was the query. */
  function backToScan() {
    const { scan } = store.get();
    if (scan) store.set({ pane: "view", item: null, picture: null,
      query: { kind: "scan", scan: scan.id, world: null },
      slice: Math.floor(scan.shape[0] / 2) });
  }

  function cancel() {
    begin();
    store.set({ opening: null });
    announce("Cancelled.");
  }

  return {
    openSource, openAgain, openSeries, openFiles, openItem, moveTo, reopen, backToScan, cancel,
    needUpload,
  };
}

const total = (files) => files.reduce((sum, { file }) => sum + file.size, 0);

/**
 * @param {Named[]} files
 * @param {import("./types.js").Archive["limits"]} limits
 */
function requireSize(files, { upload_bytes: bytes, upload_files: most }) {
  if (files.length > most) {
    throw new api.ApiError(
      `These are ${counted(files.length, "file")}; an upload has at most ${most}.`, 413,
      "Choose the folder of one series.");
  }
  if (total(files) > bytes) {
    throw new api.ApiError(
      `These files have ${size(total(files))}; an upload has at most ${size(bytes)}.`, 413,
      "Choose the folder of one series, or open the scan below a folder of --scans.");
  }
}

/** @typedef {ReturnType<typeof createSession>} Session */
