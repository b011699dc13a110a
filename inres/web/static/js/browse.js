/** The folders below the roots of the server, to choose a scan from. */

/** @typedef {import("./state.js").Store} Store */
/** @typedef {import("./types.js").Source} Source */

import { getFiles, isCancelled } from "./api.js";
import { button, byId, data, el, fill } from "./dom.js";
import { size } from "./format.js";
import { icon } from "./icons.js";

const MANY = 12;

/**
 * @param {Store} store
 * @param {(source: Source) => void} open
 */
export function createBrowser(store, open) {
  const trail = byId("browse-trail");
  const list = byId("browse-list");
  const note = byId("browse-note");
  const search = byId("browse-search");
  let controller = new AbortController();
  /** @type {{name: string, path: string, kind: string, bytes: ?number}[]} */
  let entries = [];
  let root = "";
  let path = "";

  function drawTrail() {
    const { archive } = store.get();
    const parts = path ? path.split("/") : [];
    const steps = [[root, ""], ...parts.map((part, i) =>
      [part, parts.slice(0, i + 1).join("/")])];
    const several = (archive?.roots.length ?? 0) > 1;
    fill(trail,
      several && root && el("li", {}, button("Folders", () => showRoots(), { class: "in-text" })),
      root && steps.map(([name, to], i) => el("li", {}, i === steps.length - 1
        ? el("span", { "aria-current": "page" }, data(name))
        : button(data(name), () => go(root, to), { class: "in-text" }))));
  }

  /** @param {{name: string, path: string, kind: string, bytes: ?number}} entry */
  function row(entry) {
    const folder = entry.kind === "folder";
    const press = () => (folder ? go(root, entry.path) : open({ root, path: entry.path }));
    const kind = { folder: "Folder", series: "DICOM series", scan: "Scan" }[entry.kind];
    return el("li", {}, button([
      icon(folder ? "folder" : "scan"),
      el("span", { class: "name" }, data(entry.name)),
      el("span", { class: "muted" }, [kind, entry.bytes ? size(entry.bytes) : ""]
        .filter((text) => text && text !== "Folder").join(", ")),
      folder && icon("forward"),
    ], press, { class: "entry" }));
  }

  function drawEntries() {
    const sought = search.value.trim().toLowerCase();
    const found = entries.filter(({ name }) => name.toLowerCase().includes(sought));
    fill(list, found.map(row));
    byId("browse-search-row").hidden = entries.length < MANY;
    note.textContent = found.length ? "" : sought ? "No entry of this name."
      : "No scan in this folder.";
  }

  /** @param {string} newRoot @param {string} newPath */
  async function go(newRoot, newPath) {
    controller.abort();
    controller = new AbortController();
    [root, path] = [newRoot, newPath];
    search.value = "";
    drawTrail();
    note.textContent = "Reading the folder …";
    fill(list);
    try {
      ({ entries } = await getFiles(root, path, controller.signal));
      drawEntries();
    } catch (error) {
      if (isCancelled(error)) return;
      entries = [];
      byId("browse-search-row").hidden = true;
      note.textContent = /** @type {Error} */ (error).message;
    }
  }

  function showRoots() {
    const { archive } = store.get();
    const roots = archive?.roots ?? [];
    [root, path, entries] = ["", "", []];
    drawTrail();
    byId("browse-search-row").hidden = true;
    fill(list, roots.map(({ name }) => el("li", {}, button(
      [icon("folder"), el("span", { class: "name" }, data(name)), icon("forward")],
      () => go(name, ""), { class: "entry" }))));
    note.textContent = roots.length ? ""
      : "The server was started without folders. Start it with --scans=FOLDER, or upload a scan.";
  }

  search.addEventListener("input", drawEntries);
  store.watch(["archive"], ({ archive }) => {
    if (!archive) return;
    if (archive.roots.length === 1) go(archive.roots[0].name, "");
    else showRoots();
  });
}
