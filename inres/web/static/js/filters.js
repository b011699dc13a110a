/** The options of a search: number of results, filters, pool, and weights of properties. */

/** @typedef {import("./state.js").Store} Store */
/** @typedef {import("./types.js").Archive} Archive */
/** @typedef {import("./types.js").SearchOptions} SearchOptions */
/** @typedef {import("./types.js").Filters} Filters */

import { createConditions } from "./conditions.js";
import { button, byId, el, fill } from "./dom.js";
import { icon } from "./icons.js";
import { counted, plain } from "./format.js";
import { NO_FILTERS } from "./state.js";
import { inWords, whereOf } from "./where.js";

const MAX_WEIGHT = 5;
const DISTINCT = [["", "Item"], ["nodule", "Nodule"], ["scan", "Scan"]];
const DISTINCT_WORDS = { nodule: "one per nodule", scan: "one per scan" };

/**
 * How the pool is chosen by the options that are given.
 *
 * @param {SearchOptions} given
 */
const modeOf = ({ rank, nearest }) =>
  (rank === "hamming" ? "hamming" : nearest ? "nearest" : "threshold");

/**
 * @param {Store} store
 */
export function createFilters(store) {
  const panel = byId("filters");
  const chips = byId("active-filters");
  const toggle = byId("filters-toggle");

  /**
   * Changes options; those without a value are left to the archive.
   *
   * @param {Object<string, any>} patch
   */
  function change(patch) {
    const given = { ...store.get().given, ...patch };
    for (const [name, value] of Object.entries(given)) if (value === undefined) delete given[name];
    store.set({ given });
  }

  /** @param {Partial<Filters>} patch */
  function filter(patch) {
    const { archive, filters } = store.get();
    const next = { ...filters, ...patch };
    const none = !whereOf(next, archive?.columns ?? []) && !next.conditions.length;
    store.set({ filters: none ? NO_FILTERS : next });
  }

  const reset = () => store.set({ given: {}, filters: NO_FILTERS });
  const resetFilters = () => store.set({ filters: NO_FILTERS });

  // --- controls ----------------------------------------------------------------------------------

  const k = byId("option-k");
  k.addEventListener("change", () => {
    const { archive } = store.get();
    const value = whole(k, 1, archive?.limits.results ?? 100);
    if (value !== null) change({ k: value === archive?.options.k ? undefined : value });
  });

  const distinct = byId("option-distinct");
  fill(distinct, DISTINCT.map(([value, title]) => el("label", { class: "choice" },
    el("input", {
      type: "radio", name: "distinct", value, checked: !value,
      on: { change: () => change({ distinct: value || undefined }) },
    }), el("span", {}, title))));

  for (const [id, name] of /** @type {const} */ ([
    ["option-own-scan", "own_scan"], ["option-same-class", "same_class"],
  ])) {
    byId(id).addEventListener("change", (event) =>
      change({ [name]: event.target.checked || undefined }));
  }

  const [smallest, largest] = [byId("filter-smallest"), byId("filter-largest")];
  for (const [input, name] of /** @type {const} */ ([
    [smallest, "smallest"], [largest, "largest"],
  ])) {
    input.addEventListener("input", () => {
      const text = input.value.trim();
      const value = text === "" ? null : Number(text);
      if (value === null || (Number.isFinite(value) && value >= 0)) filter({ [name]: value });
    });
  }

  const conditions = createConditions(byId("filter-conditions"), (now) =>
    filter({ conditions: now }));
  const sql = byId("filter-sql");
  sql.addEventListener("input", () => filter({ sql: sql.value }));

  const mode = byId("pool-mode");
  const threshold = byId("option-threshold");
  const thresholdSlider = byId("option-threshold-slider");
  const minPool = byId("option-min-pool");
  const nearest = byId("option-nearest");

  function changePool() {
    const { archive } = store.get();
    const none = { threshold: undefined, min_pool: undefined, nearest: undefined, rank: undefined };
    if (mode.value === "hamming") return change({ ...none, rank: "hamming" });
    if (mode.value === "nearest") {
      const value = whole(nearest, 1, 1e9);
      return value !== null && change({ ...none, nearest: value });
    }
    const bits = whole(threshold, 1, (archive?.bits ?? 1) + 1);
    const least = whole(minPool, 0, 1e9);
    if (bits === null || least === null) return undefined;
    const own = archive?.options ?? {};
    if (bits === own.threshold && least === own.min_pool) return change(none);
    return change({ ...none, threshold: bits, min_pool: least });
  }
  mode.addEventListener("change", changePool);
  for (const input of [threshold, minPool, nearest]) input.addEventListener("change", changePool);
  thresholdSlider.addEventListener("input", () => {
    threshold.value = thresholdSlider.value;
    changePool();
  });

  const weights = byId("weights");
  byId("weights-reset").addEventListener("click", () => change({ weights: undefined }));
  byId("filters-reset").addEventListener("click", reset);
  byId("filters-close").addEventListener("click", () => open(false));
  panel.addEventListener("keydown", (event) => { if (event.key === "Escape") open(false); });
  toggle.addEventListener("click", () => open(!store.get().filtersOpen));

  /** @param {string} name @param {number} weight */
  function weigh(name, weight) {
    const next = { ...store.get().given.weights, [name]: weight };
    for (const [key, value] of Object.entries(next)) if (!value) delete next[key];
    // Weights rank without a pool, so options of the pool do not apply.
    const pool = { threshold: undefined, min_pool: undefined, nearest: undefined, rank: undefined };
    change(Object.keys(next).length ? { ...pool, weights: next } : { weights: undefined });
  }

  /** @param {boolean} opened */
  function open(opened) {
    store.set({ filtersOpen: opened });
    if (opened) byId("filters-head").focus({ preventScroll: true });
    else toggle.focus();
  }

  // --- what is shown -----------------------------------------------------------------------------

  /** @param {Archive} archive */
  function build(archive) {
    fill(byId("filter-classes"), archive.classes.map(({ label, name }) =>
      el("label", { class: "chip" },
        el("input", {
          type: "checkbox", value: String(label),
          on: {
            change(event) {
              const { classes } = store.get().filters;
              const others = classes.filter((one) => one !== label);
              filter({ classes: event.target.checked ? [...others, label] : others });
            },
          },
        }),
        el("span", {}, name))));
    conditions.setColumns(archive.columns);
    k.max = String(archive.limits.results);
    threshold.max = thresholdSlider.max = String(archive.bits + 1);
    fill(weights, archive.properties.map(({ name, title }) => {
      const id = `weight-${name}`;
      return el("div", { class: "weight" },
        el("label", { for: id }, title),
        el("input", {
          type: "range", id, min: "0", max: String(MAX_WEIGHT), step: "0.5", value: "0",
          dataset: { name },
          on: { input: (event) => weigh(name, Number(event.target.value)) },
        }),
        el("output", { for: id }, "0"));
    }));
    byId("weights-section").hidden = !archive.properties.length;
    const names = archive.columns.map(({ name }) => name).join(", ");
    byId("condition-help").textContent = `Columns: ${names}`;
  }

  function show() {
    const { archive, given, filters } = store.get();
    if (!archive) return;
    const own = archive.options;
    const weighted = Object.keys(given.weights ?? {}).length > 0;
    set(k, given.k ?? own.k);
    for (const input of distinct.querySelectorAll("input")) {
      input.checked = input.value === (given.distinct ?? own.distinct ?? "");
    }
    byId("option-own-scan").checked = given.own_scan ?? own.own_scan ?? false;
    byId("option-same-class").checked = given.same_class ?? own.same_class ?? false;

    for (const input of byId("filter-classes").querySelectorAll("input")) {
      input.checked = filters.classes.includes(Number(input.value));
    }
    set(smallest, filters.smallest ?? "");
    set(largest, filters.largest ?? "");
    conditions.set(filters.conditions);
    set(sql, filters.sql);

    const used = modeOf(given);
    mode.value = used;
    set(threshold, given.threshold ?? own.threshold);
    set(thresholdSlider, given.threshold ?? own.threshold);
    set(minPool, given.min_pool ?? (given.threshold === undefined ? own.min_pool : 0));
    set(nearest, given.nearest || 100);
    for (const part of panel.querySelectorAll("[data-pool]")) {
      part.hidden = part.dataset.pool !== used;
    }
    byId("pool-controls").disabled = weighted;
    byId("pool-off").hidden = !weighted;

    for (const slider of weights.querySelectorAll("input")) {
      const weight = given.weights?.[slider.dataset.name] ?? 0;
      set(slider, weight);
      slider.nextElementSibling.textContent = plain(weight);
    }
    byId("weights-reset").disabled = !weighted;
    showChips();
  }

  /** What deviates from the defaults, each with a way back. */
  function showChips() {
    const { archive, given, filters } = store.get();
    if (!archive) return;
    /** @type {[string, () => void][]} */
    const entries = [];
    const titles = Object.fromEntries(archive.classes.map(({ label, name }) => [label, name]));
    for (const label of filters.classes) {
      entries.push([`class ${titles[label] ?? label}`, () => filter({
        classes: store.get().filters.classes.filter((one) => one !== label) })]);
    }
    if (filters.smallest !== null) {
      entries.push([`at least ${filters.smallest} mm`, () => filter({ smallest: null })]);
    }
    if (filters.largest !== null) {
      entries.push([`at most ${filters.largest} mm`, () => filter({ largest: null })]);
    }
    filters.conditions.forEach((one, at) => {
      entries.push([inWords(one), () => filter({
        conditions: store.get().filters.conditions.filter((_, i) => i !== at) })]);
    });
    if (filters.sql.trim()) entries.push([filters.sql.trim(), () => filter({ sql: "" })]);
    if (given.distinct) {
      entries.push([DISTINCT_WORDS[given.distinct], () => change({ distinct: undefined })]);
    }
    if (given.own_scan) {
      entries.push(["own scan included", () => change({ own_scan: undefined })]);
    }
    if (given.same_class) {
      entries.push(["predicted class only", () => change({ same_class: undefined })]);
    }
    if (given.rank === "hamming") {
      entries.push(["by Hamming distance", () => change({ rank: undefined })]);
    } else if (given.nearest) {
      entries.push([`${given.nearest} nearest codes`, () => change({ nearest: undefined })]);
    } else if (given.threshold !== undefined || given.min_pool !== undefined) {
      const least = given.min_pool ? `, at least ${given.min_pool} items` : "";
      const bits = given.threshold ?? archive.options.threshold ?? 0;
      entries.push([`threshold ${counted(bits, "bit")}${least}`,
        () => change({ threshold: undefined, min_pool: undefined })]);
    }
    const weighed = Object.entries(given.weights ?? {});
    if (weighed.length) {
      entries.push([`weights: ${weighed.map(([name, w]) => `${name} ${plain(w)}`).join(", ")}`,
        () => change({ weights: undefined })]);
    }
    fill(chips, entries.map(([text, remove]) => el("li", {},
      button([el("bdi", {}, text), icon("close")], remove, {
        class: "chip-button", "aria-label": `Remove: ${text}`, title: `Remove: ${text}`,
      }))));
    chips.hidden = !entries.length;
    const badge = byId("filters-count");
    badge.textContent = entries.length ? String(entries.length) : "";
    toggle.setAttribute("aria-label", entries.length
      ? `Filters and options, ${entries.length} active` : "Filters and options");
  }

  store.watch(["archive"], ({ archive }) => { if (archive) build(archive); });
  store.watch(["archive", "given", "filters"], show);
  store.watch(["filtersOpen"], ({ filtersOpen }) => {
    panel.hidden = !filtersOpen;
    document.body.classList.toggle("filters-open", filtersOpen);
    toggle.setAttribute("aria-expanded", String(filtersOpen));
  });

  return { change, resetFilters, open };
}

/**
 * Sets an input unless the user is typing in it.
 *
 * @param {any} input
 * @param {string|number|null|undefined} value
 */
function set(input, value) {
  const text = String(value ?? "");
  const typing = document.activeElement === input && input.type !== "range";
  if (!typing && input.value !== text) input.value = text;
}

/**
 * The whole number in an input; null, with a message, if there is none within the limits.
 *
 * @param {any} input
 * @param {number} low
 * @param {number} high
 */
function whole(input, low, high) {
  const value = Number(input.value);
  const right = input.value.trim() !== "" && Number.isInteger(value) && value >= low
    && value <= high;
  input.setCustomValidity(right ? "" : `Give a whole number from ${low} to ${high}.`);
  if (!right) input.reportValidity();
  return right ? value : null;
}
