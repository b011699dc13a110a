/** The panel to choose a query: a scan of the server, an upload, an item, or a record. */

/** @typedef {import("./state.js").Store} Store */
/** @typedef {import("./session.js").Session} Session */

import { button, byId, data, el, fill } from "./dom.js";
import { chosen, dropped } from "./files.js";
import { fixed, size } from "./format.js";
import { icon } from "./icons.js";
import { createBrowser } from "./browse.js";
import { createRecords } from "./records.js";

const TABS = /** @type {const} */ (["folders", "upload", "item", "records"]);

/**
 * @param {Store} store
 * @param {Session} session
 */
export function createOpenPanel(store, session) {
  const panel = byId("open-panel");
  const tabs = TABS.map((name) => byId(`tab-${name}`));
  const records = createRecords(store, session.openItem);
  createBrowser(store, session.openSource);

  // --- tabs --------------------------------------------------------------------------------------

  /** @param {string} name @param {boolean} [focus] */
  function select(name, focus = false) {
    for (const tab of tabs) {
      const selected = tab.id === `tab-${name}`;
      tab.setAttribute("aria-selected", String(selected));
      tab.tabIndex = selected ? 0 : -1;
      byId(tab.getAttribute("aria-controls")).hidden = !selected;
      if (selected && focus) tab.focus();
    }
    if (name === "records") records.start();
  }

  tabs.forEach((tab, at) => {
    const name = TABS[at];
    tab.addEventListener("click", () => select(name));
    tab.addEventListener("keydown", (event) => {
      const shown = TABS.filter((_, i) => !tabs[i].hidden);
      const here = shown.indexOf(name);
      const to = {
        ArrowRight: here + 1, ArrowLeft: here - 1, Home: 0, End: shown.length - 1,
      }[event.key];
      if (to === undefined) return;
      event.preventDefault();
      event.stopPropagation();
      select(shown[(to + shown.length) % shown.length], true);
    });
  });

  store.watch(["archive"], ({ archive }) => {
    if (!archive) return;
    const images = archive.form === "images";
    byId("tab-folders").hidden = images;
    byId("upload-what").textContent = images
      ? "A picture like those of the archive."
      : "A scan (.mhd with its data, .nrrd, .nii.gz), a DICOM folder, a .zip of one, or pictures.";
    byId("upload-limit").textContent = `Up to ${size(archive.limits.upload_bytes)} and `
      + `${archive.limits.upload_files} files. The server keeps them for a while, and no longer `
      + "than it runs.";
    byId("pick-folder").hidden = images;
    byId("item-number").max = String(archive.items - 1);
    byId("item-range").textContent = `0 to ${archive.items - 1}`;
    select(images || !archive.roots.length ? "upload" : "folders");
  });

  // --- upload ------------------------------------------------------------------------------------

  for (const [opener, input] of [["pick-files", "file-input"], ["pick-folder", "folder-input"]]) {
    const field = byId(input);
    byId(opener).addEventListener("click", () => field.click());
    field.addEventListener("change", () => {
      session.openFiles(chosen(field.files));
      field.value = "";
    });
  }

  let inside = 0;
  const carriesFiles = (event) => event.dataTransfer?.types.includes("Files");
  const drag = (on) => document.body.classList.toggle("dragging", on);
  window.addEventListener("dragenter", (event) => {
    if (!carriesFiles(event)) return;
    event.preventDefault();
    inside += 1;
    drag(true);
  });
  window.addEventListener("dragleave", () => {
    inside = Math.max(0, inside - 1);
    if (!inside) drag(false);
  });
  window.addEventListener("dragover", (event) => {
    if (carriesFiles(event)) event.preventDefault();
  });
  window.addEventListener("drop", async (event) => {
    inside = 0;
    drag(false);
    if (!carriesFiles(event) || !event.dataTransfer) return;
    event.preventDefault();
    session.openFiles(await dropped(event.dataTransfer));
  });
  window.addEventListener("paste", (event) => {
    const files = [...(event.clipboardData?.files ?? [])];
    if (!files.length) return;
    event.preventDefault();
    session.openFiles(chosen(files));
  });

  // --- item --------------------------------------------------------------------------------------

  byId("item-form").addEventListener("submit", (event) => {
    event.preventDefault();
    const input = byId("item-number");
    if (input.reportValidity()) session.openItem(Number(input.value));
  });

  // --- what is shown -----------------------------------------------------------------------------

  const back = () => { if (store.get().query) store.set({ pane: "view", problem: null }); };
  byId("open-back").addEventListener("click", back);
  panel.addEventListener("keydown", (event) => { if (event.key === "Escape") back(); });
  byId("opening-cancel").addEventListener("click", session.cancel);

  store.watch(["opening"], ({ opening }) => {
    byId("opening").hidden = !opening;
    if (!opening) return;
    const { name, phase, progress, message } = opening;
    fill(byId("opening-title"), phase === "uploading" ? "Uploading " : "Opening ", data(name));
    const bar = byId("opening-progress");
    if (progress === null) bar.removeAttribute("value");
    else bar.value = progress;
    const share = progress === null ? "" : `${fixed(progress * 100, 0)} %`;
    byId("opening-text").textContent = [message, share].filter(Boolean).join(", ");
  });

  store.watch(["problem"], ({ problem }) => {
    const place = byId("open-problem");
    place.hidden = !problem;
    if (!problem) return;
    fill(place,
      el("h3", {}, icon("warning"), data(problem.what ?? "This cannot be opened")),
      el("p", {}, data(problem.message)),
      problem.fix && el("p", { class: "muted" }, data(problem.fix)),
      button("Dismiss", () => store.set({ problem: null }), { class: "quiet" }));
  });

  store.watch(["pane", "query", "opening"], ({ pane, query, opening }) => {
    panel.hidden = pane !== "open" || Boolean(opening);
    byId("viewer").hidden = pane !== "view" || Boolean(opening);
    byId("open-back").hidden = !query;
  });

  return {
    open() {
      store.set({ pane: "open" });
      tabs.find((tab) => tab.getAttribute("aria-selected") === "true")?.focus();
    },
  };
}
