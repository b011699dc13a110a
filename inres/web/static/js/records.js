/** Items of the archive by their records: a condition, a list, and one to search with. */

/** @typedef {import("./state.js").Store} Store */

import { getRecords, isCancelled, itemImageUrl } from "./api.js";
import { createConditions } from "./conditions.js";
import { button, byId, data, debounced, el, fill } from "./dom.js";
import { cell, counted, millimetres, short } from "./format.js";
import { NO_FILTERS } from "./state.js";
import { whereOf } from "./where.js";

const PAGE = 30;
const TYPING_MS = 300;

/**
 * @param {Store} store
 * @param {(item: number) => void} openItem
 */
export function createRecords(store, openItem) {
  const list = byId("record-list");
  const note = byId("record-note");
  const more = byId("record-more");
  const sql = byId("record-sql");
  let controller = new AbortController();
  let filters = NO_FILTERS;
  let offset = 0;
  let started = false;

  /** @param {import("./types.js").ItemRecord} record */
  function row(record) {
    const { classes = [] } = store.get().archive ?? {};
    const item = Number(record.item);
    const title = classes.find(({ label }) => label === record.label)?.name ?? "class unknown";
    const diameter = typeof record.diameter_mm === "number" && record.diameter_mm > 0
      ? millimetres(record.diameter_mm) : "";
    return el("li", {}, button([
      el("img", { src: itemImageUrl(item), alt: "", loading: "lazy", draggable: false }),
      el("span", { class: "name" },
        el("span", { class: "class" }, title), diameter && ` ${diameter}`,
        el("span", { class: "muted block" },
          data(short(String(record.nodule || record.scan || record.image || ""), 34)))),
      el("span", { class: "muted" }, `item ${cell(item)}`),
    ], () => openItem(item), { class: "entry" }));
  }

  /** @param {number} from */
  async function load(from) {
    controller.abort();
    controller = new AbortController();
    const { archive } = store.get();
    if (!archive) return;
    offset = from;
    const where = whereOf(filters, archive.columns);
    try {
      const { count, records } = await getRecords(
        { where, offset, limit: PAGE }, controller.signal);
      if (!offset) fill(list);
      list.append(...records.map(row));
      note.textContent = where ? `${counted(count, "record meets", "records meet")} the condition.`
        : `${counted(count, "record")}.`;
      note.classList.remove("error");
      more.hidden = offset + records.length >= count;
    } catch (error) {
      if (isCancelled(error)) return;
      fill(list);
      more.hidden = true;
      note.textContent = /** @type {Error} */ (error).message;
      note.classList.add("error");
    }
  }

  const reload = debounced(() => load(0), TYPING_MS);
  const conditions = createConditions(byId("record-conditions"), (now) => {
    filters = { ...filters, conditions: now };
    reload();
  });
  sql.addEventListener("input", () => {
    filters = { ...filters, sql: sql.value };
    reload();
  });
  more.addEventListener("click", () => load(offset + PAGE));
  store.watch(["archive"], ({ archive }) => {
    if (archive) conditions.setColumns(archive.columns);
  });

  return {
    /** Loads the list when it is shown for the first time. */
    start() {
      if (!started) load(0);
      started = true;
    },
  };
}
