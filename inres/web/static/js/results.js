/** The results of the last search, with the query above them. */

/** @typedef {import("./state.js").Store} Store */
/** @typedef {import("./types.js").Answer} Answer */
/** @typedef {import("./types.js").Hit} Hit */
/** @typedef {import("./types.js").State} State */

import { button, byId, data, el, fill } from "./dom.js";
import { counted, distance, fixed, millimetres, NO_CLASS, short } from "./format.js";
import { icon, mark } from "./icons.js";
import { NO_FILTERS } from "./state.js";
import { legend, queryList, respectList, VERDICTS } from "./respects.js";

const SLOW_MS = 180;
const MORE = 10;

/**
 * @param {Store} store
 * @param {{openHit: (rank: number) => void, openItem: (item: number) => void,
 *   change: (patch: Object<string, any>) => void, resetFilters: () => void, again: () => void,
 *   announce: (text: string) => void}} actions
 */
export function createResults(store, actions) {
  const { openHit, openItem, change, announce } = actions;
  const list = byId("hits");
  const head = byId("query-row");
  const count = byId("result-count");
  const pool = byId("pool-text");
  const summary = byId("summary");
  const message = byId("result-message");
  const notes = byId("query-notes");
  const busy = byId("busy");
  let slow = 0;

  /** @param {Hit} hit @param {Answer} answer */
  function hitRow(hit, answer) {
    const { properties = [], bits } = store.get().archive ?? {};
    const same = answer.query.predicted && hit.label === answer.query.predicted.label;
    const title = titleOf(hit);
    const weighted = Object.keys(store.get().given.weights ?? {}).length > 0;
    const open = () => openHit(hit.rank);
    return el("li", { class: "hit", dataset: { item: String(hit.item), rank: String(hit.rank) } },
      el("span", { class: "rank" }, hit.rank),
      button(el("img", { src: hit.image, alt: "", loading: "lazy", draggable: false }), open, {
        class: "thumb", "aria-label": `Open result ${hit.rank}: ${title}`,
      }),
      el("div", { class: "what" },
        el("h3", {},
          el("span", { class: "class" }, hit.class ?? NO_CLASS),
          hit.diameter_mm !== null && hit.diameter_mm > 0
            && el("span", { class: "diameter" }, millimetres(hit.diameter_mm))),
        el("p", { class: "class-note" }, same
          ? [mark("similar"), "class as predicted"] : [mark("different"), "another class"]),
        el("p", { class: "scan" }, data(short(hit.scan || `item ${hit.item}`, 22)))),
      el("dl", { class: "distances" },
        pair("Hamming", `${hit.hamming}`, `${hit.hamming} of ${bits} bits differ`),
        pair(weighted ? "Weighted" : "Distance", distance(hit.distance), weighted
          ? "Root mean square difference of the weighted properties, in standard deviations"
          : "Euclidean distance of the features")),
      hit.respects.some(({ verdict }) => verdict !== "unknown")
        ? [respectList(hit.respects, properties), verdictCount(hit)]
        : el("p", { class: "respects none" }, noRespects(hit, answer)),
      el("div", { class: "actions" },
        button([icon("search"), el("span", {}, "More like this")], () => openItem(hit.item), {
          class: "quiet", "aria-label": `More like result ${hit.rank}`,
          title: "Search for items similar to this one",
        })));
  }

  /** @param {Answer} answer */
  function queryRow(answer) {
    const { properties = [] } = store.get().archive ?? {};
    const { query } = answer;
    const estimated = Object.keys(query.properties).length + Object.keys(query.known).length > 0;
    fill(head,
      el("span", { class: "rank" }),
      query.image
        ? el("img", { class: "thumb", src: query.image, alt: "The query as the network sees it" })
        : el("span", { class: "thumb" }),
      el("div", { class: "what" },
        el("h3", {}, el("span", { class: "tag" }, "Query"),
          el("span", { class: "class" }, query.predicted?.name ?? "")),
        el("p", { class: "class-note" }, query.predicted ? "predicted class" : "no prediction"),
        el("p", { class: "scan" }, query.class ? `Record: ${query.class}${
          query.diameter_mm ? `, ${millimetres(query.diameter_mm)}` : ""}`
          : data(short(query.name, 26)))),
      estimated ? queryList(properties, query.properties, query.known)
        : el("p", { class: "respects none" },
          "The network sees no nodule here, so there are no properties to compare."));
    const known = store.get().scan?.notes ?? [];
    const own = query.notes.filter((text) => query.kind !== "scan" || !known.includes(text));
    fill(notes, own.map((text) => el("li", {}, icon("warning"), data(text))));
    notes.hidden = !own.length;
  }

  /** @param {Answer} answer */
  function emptyPool(answer) {
    const { archive, filters } = store.get();
    const { options } = answer;
    const bits = archive?.bits ?? 0;
    const filtered = filters !== NO_FILTERS;
    const weighted = Object.keys(options.weights ?? {}).length > 0;
    // All items with such a code were looked at, unless only the threshold limits the pool.
    const pooled = !weighted && options.rank !== "hamming" && !options.nearest
      && !options.min_pool;
    const threshold = Math.min((options.threshold ?? 0) + 2, bits + 1);
    return el("div", { class: "message" },
      el("h3", {}, "Nothing found"),
      el("p", {}, data(sentenceCase(answer.pool_text))),
      el("div", { class: "buttons" },
        pooled && button("Widen the pool to 10 items", () => change({
          threshold: options.threshold, min_pool: 10 })),
        pooled && button(`Raise the threshold to ${threshold} bits`, () => change({
          threshold, min_pool: 0 })),
        options.same_class && button("Allow every class", () => change({ same_class: undefined })),
        !options.own_scan && answer.own_scan_excluded
          && button("Include the query's own scan", () => change({ own_scan: true })),
        filtered && button("Remove the filters", actions.resetFilters)));
  }

  /** @param {State} state */
  function invitation({ query, scan, archive }) {
    if (query?.kind === "scan" && scan) {
      return el("div", { class: "message" },
        el("h3", {}, "Choose a place"),
        el("p", {}, "Scroll to a finding and click it, or type its coordinates below the scan. "
          + "The results follow when you move the place."));
    }
    const what = archive?.form === "images"
      ? "Upload a picture like those of the archive, or choose an item by its number or record."
      : "Open a scan and click a finding, upload a picture, or choose an item of the archive.";
    return el("div", { class: "message" }, el("h3", {}, "No query yet"), el("p", {}, what));
  }

  /** @param {State} state */
  function failed({ failure }) {
    return el("div", { class: "message problem", role: "alert" },
      el("h3", {}, icon("warning"), "The search failed"),
      el("p", {}, data(failure?.message)),
      failure?.fix && el("p", { class: "muted" }, data(failure.fix)),
      el("div", { class: "buttons" },
        button("Try again", actions.again),
        store.get().filters !== NO_FILTERS
          && button("Remove the filters", actions.resetFilters)));
  }

  /** @param {State} state */
  function show(state) {
    const { answer, status } = state;
    const found = status === "failed" ? null : answer;
    const focused = focusedControl();
    head.hidden = !found;
    fill(list, found?.hits.map((hit) => hitRow(hit, found)));
    fill(pool, found && found.pool_size > 0 ? [
      el("span", {}, sentenceCase(found.pool_text), "."),
      found.own_scan_excluded && el("span", {}, "The query's own scan is left out."),
    ] : null);
    fill(summary, found?.summary ? [legend(), el("p", {}, `${sentenceCase(found.summary)}.`)]
      : null);
    byId("took").textContent = found ? `${fixed(found.took_ms, 0)} ms` : "";
    notes.hidden = true;
    if (found) queryRow(found);
    count.textContent = found ? counted(found.hits.length, "result") : "Results";
    byId("export").hidden = !found?.hits.length;
    byId("layout").hidden = !found?.hits.length;
    fill(message, status === "failed" ? failed(state)
      : !found && status !== "searching" && !state.opening ? invitation(state)
        : found && !found.hits.length ? emptyPool(found) : null);
    const more = byId("more");
    const wanted = state.given.k ?? state.archive?.options.k ?? MORE;
    more.hidden = !found || found.hits.length < wanted || found.hits.length >= found.pool_size;
    refocus(focused);
    if (found) announce(spoken(found));
  }

  const focusedControl = () => {
    const control = document.activeElement;
    const row = control?.closest?.(".hit");
    if (!row || !list.contains(row)) return null;
    const controls = [...row.querySelectorAll("button")];
    const at = controls.findIndex((one) => one === control);
    return { rank: /** @type {any} */ (row).dataset.rank, at };
  };

  /** @param {?{rank: string, at: number}} focused */
  function refocus(focused) {
    if (!focused) return;
    const row = list.querySelector(`[data-rank="${focused.rank}"]`) ?? list.firstElementChild;
    row?.querySelectorAll("button")[focused.at]?.focus({ preventScroll: true });
  }

  /** @param {number} step */
  function move(step) {
    const thumbs = [...list.querySelectorAll("button.thumb")];
    if (!thumbs.length) return;
    const row = document.activeElement?.closest?.(".hit");
    const at = thumbs.findIndex((thumb) => row?.contains(thumb));
    thumbs[Math.min(Math.max(at < 0 ? 0 : at + step, 0), thumbs.length - 1)].focus();
  }

  list.addEventListener("keydown", (event) => {
    if (event.altKey || event.ctrlKey || event.metaKey || event.shiftKey) return;
    const steps = { ArrowDown: 1, ArrowRight: 1, ArrowUp: -1, ArrowLeft: -1 };
    if (!steps[event.key]) return;
    event.preventDefault();
    move(steps[event.key]);
  });
  list.addEventListener("click", (event) => {
    const row = event.target.closest(".hit");
    if (row && !event.target.closest("button")) openHit(Number(row.dataset.rank));
  });

  byId("more").addEventListener("click", () => {
    const { given, archive } = store.get();
    change({ k: (given.k ?? archive?.options.k ?? MORE) + MORE });
  });

  /** @type {any}  What the list was made from. */
  let source = null;

  store.watch(["answer", "status", "failure", "archive", "scan", "query", "opening"], (now) => {
    clearTimeout(slow);
    const waiting = now.status === "searching";
    if (waiting) slow = window.setTimeout(() => busy.classList.add("on"), SLOW_MS);
    else busy.classList.remove("on");
    byId("results").setAttribute("aria-busy", String(waiting));
    // The last results stay until the next ones are there.
    const none = [waiting, now.archive?.name, now.query?.kind, now.scan?.id, !now.opening].join();
    const next = now.status === "failed" ? now.failure : now.answer ?? none;
    if (next === source) return;
    source = next;
    show(now);
  });

  store.watch(["layout"], ({ layout }) => {
    list.dataset.layout = layout;
    for (const choice of byId("layout").querySelectorAll("input")) {
      choice.checked = choice.value === layout;
    }
  });

  return { move, focus: () => move(0) };
}

/** @param {string} title @param {string} value @param {string} help */
const pair = (title, value, help) =>
  el("div", { title: help }, el("dt", {}, title), el("dd", {}, value));

/** @param {Hit} hit */
function verdictCount({ respects }) {
  const counts = /** @type {const} */ (["similar", "partly", "different"])
    .map((verdict) => [verdict, respects.filter((one) => one.verdict === verdict).length]);
  return el("p", { class: "verdicts" }, counts.map(([verdict, number]) => el("span", {
    title: `${VERDICTS[verdict]} in ${number}`,
  }, mark(/** @type {any} */ (verdict)), number,
  el("span", { class: "visually-hidden" }, ` ${VERDICTS[verdict]}`))));
}

/** @param {Hit} hit @param {Answer} answer */
function noRespects({ properties }, { query }) {
  if (!Object.keys(query.properties).length) return "";
  return Object.keys(properties).length ? "No property in common with the query."
    : "The record knows no properties.";
}

/** @param {Hit} hit */
const titleOf = (hit) =>
  `${hit.class ?? NO_CLASS}${hit.diameter_mm ? `, ${millimetres(hit.diameter_mm)}` : ""}`;

/** @param {string} text */
const sentenceCase = (text) => text.charAt(0).toUpperCase() + text.slice(1);

/** @param {Answer} answer */
function spoken({ hits, pool_text: pool }) {
  if (!hits.length) return `Nothing found: ${pool}.`;
  const [first] = hits;
  return `${counted(hits.length, "result")}. First: ${titleOf(first)}. ${sentenceCase(pool)}.`;
}

