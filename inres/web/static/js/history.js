/** The browser's address follows the query, and the query follows the address. */

/** @typedef {import("./state.js").Store} Store */
/** @typedef {import("./session.js").Session} Session */

import { debounced } from "./dom.js";
import { hashOf, identityOf, linkOf, parseLink } from "./link.js";

const SETTLE_MS = 400;

/**
 * @param {Store} store
 * @param {Session} session
 */
export function createHistory(store, session) {
  let written = location.hash;
  let identity = identityOf(null);
  let restoring = false;

  function write() {
    const state = store.get();
    const link = linkOf(state);
    if (!link || restoring) return;
    const hash = hashOf(link);
    if (hash === written) return;
    const { scan, query } = state;
    // Uploads are not in the link, but this tab can return to them.
    const own = { scan: query?.kind === "scan" && !scan?.source ? scan?.id : null,
      name: scan?.name };
    if (identityOf(link) === identity) history.replaceState(own, "", hash);
    else history.pushState(own, "", hash);
    [written, identity] = [hash, identityOf(link)];
  }

  const soon = debounced(write, SETTLE_MS);

  /** Shows what the address says; false if it says nothing. */
  async function read() {
    const { archive } = store.get();
    const link = parseLink(location.hash, archive?.columns ?? []);
    if (!archive || !link) return false;
    restoring = true;
    written = location.hash;
    identity = JSON.stringify(link.query);
    const { query, given, filters, slice, window } = link;
    store.set({ given, filters });
    const world = isPlace(query.world_mm) ? query.world_mm : null;
    const start = { world, slice, window };
    try {
      if (Number.isInteger(query.item)) {
        await session.openItem(query.item);
        if (slice !== null && store.get().item?.item === query.item) store.set({ slice });
      } else if (typeof query.path === "string") {
        const source = sourceOf(query, archive.roots);
        await session.openSource(source, start);
      } else if (typeof query.upload === "string") {
        const { scan = null } = history.state ?? {};
        if (scan) await session.openAgain(scan, query.upload, start);
        else session.needUpload(query.upload);
      }
    } finally {
      restoring = false;
    }
    return true;
  }

  window.addEventListener("popstate", () => { if (location.hash !== written) read(); });
  store.watch(["query", "scan", "slice", "window", "given", "filters"], soon);

  return {
    read,

    /** The address of the present query, up to date. */
    address() {
      write();
      return location.href;
    },
  };
}

const isPlace = (value) =>
  Array.isArray(value) && value.length === 3 && value.every(Number.isFinite);

/**
 * The source of a path of a link: its root is the one that it begins with.
 *
 * @param {{path: string, series_uid?: string}} query
 * @param {{name: string}[]} roots
 */
function sourceOf({ path, series_uid: uid }, roots) {
  const root = roots.map(({ name }) => name).find((name) =>
    path === name || path.startsWith(`${name}/`)) ?? path.split("/")[0];
  const source = { root, path: path.slice(root.length + 1) };
  return typeof uid === "string" ? { ...source, series_uid: uid } : source;
}
