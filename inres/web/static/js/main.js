/** Starts the page: connects to the server and joins the parts. */

import * as api from "./api.js";
import { byId, el, fill } from "./dom.js";
import { createDetail } from "./detail.js";
import { createExport } from "./export.js";
import { createFilters } from "./filters.js";
import { counted } from "./format.js";
import { createHistory } from "./history.js";
import { budget, createImages } from "./images.js";
import { createKeys } from "./keys.js";
import { recall, remember } from "./memory.js";
import { createNotices } from "./notices.js";
import { createOpenPanel } from "./open.js";
import { createResults } from "./results.js";
import { createSearch } from "./search.js";
import { createSession } from "./session.js";
import { createSplit } from "./split.js";
import { createStore, INITIAL } from "./state.js";
import { createTheme } from "./theme.js";
import { createViewer } from "./viewer.js";

const RETRY_MS = 3000;
const STARTING_MS = 500;
const WIDE = 1700;

const store = createStore({
  ...INITIAL,
  layout: recall("layout") === "grid" ? "grid" : "list",
  filtersOpen: window.innerWidth >= WIDE && recall("filters") !== "closed",
});
const notices = createNotices();
const { announce, say } = notices;
const images = createImages(budget());
const theme = createTheme(announce);

/**
 * Deals with failures that concern the whole page.
 *
 * @param {import("./api.js").ApiError} error
 * @returns {boolean} Whether it is dealt with.
 */
function onFailure(error) {
  if (error.status === 401) {
    store.set({ connection: "token" });
    return true;
  }
  if (error.status === 0) {
    waitForServer();
    return true;
  }
  const { query, scan } = store.get();
  if (error.status === 404 && query?.kind === "scan" && scan) {
    session.reopen();
    return true;
  }
  return false;
}

let waiting = false;

/** Asks the server until it answers, then goes on where the page was. */
async function waitForServer() {
  store.set({ connection: "unreachable" });
  if (waiting) return;
  waiting = true;
  for (;;) {
    try {
      await api.getHealth();
      break;
    } catch {
      await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
    }
  }
  waiting = false;
  if (!store.get().archive) {
    await start();
    return;
  }
  store.set({ connection: "ready" });
  images.retry();
  search.again();
}

const session = createSession(store, { announce, onFailure });
const search = createSearch(store, onFailure);
const panel = createOpenPanel(store, session);
const viewer = createViewer(store, images, {
  moveTo: session.moveTo,
  openPanel: panel.open,
  onExpired: onFailure,
  announce,
});
const filters = createFilters(store);
const detail = createDetail(store, images, { ...session, announce });
const results = createResults(store, {
  openHit: detail.open,
  openItem: session.openItem,
  change: filters.change,
  resetFilters: filters.resetFilters,
  again: search.again,
  announce,
});
const address = createHistory(store, session);
createExport(store, { say, onFailure });
createSplit();

async function copyLink() {
  const { query, scan } = store.get();
  if (!query) return say("There is no query to link to.");
  const link = address.address();
  try {
    await navigator.clipboard.writeText(link);
    const upload = query.kind === "image" || (query.kind === "scan" && !scan?.source);
    say(upload ? "Link copied. It names the upload, which must be uploaded again."
      : "Link copied.");
  } catch {
    say("The browser does not allow copying; the link is in its address bar.");
  }
}

byId("link").addEventListener("click", copyLink);
byId("back-to-scan").addEventListener("click", session.backToScan);
for (const choice of byId("layout").querySelectorAll("input")) {
  choice.addEventListener("change", () => store.set({ layout: choice.value }));
}

const ranks = Object.fromEntries(
  Array.from({ length: 9 }, (_, i) => [String(i + 1), () => detail.open(i + 1)]));
createKeys({
  ...ranks,
  o: panel.open,
  v: viewer.focus,
  r: () => byId("result-count").focus(),
  w: viewer.cycleWindow,
  f: () => filters.open(!store.get().filtersOpen),
  g: () => store.set({ layout: store.get().layout === "list" ? "grid" : "list" }),
  j: () => results.move(1),
  k: () => results.move(-1),
  l: copyLink,
  t: theme.cycle,
});

byId("token-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const field = byId("token");
  const token = field.value.trim();
  try {
    // The server keeps the token in a cookie and answers with the page without it in the address.
    if (await api.accepts(token)) {
      location.assign(`./?${new URLSearchParams({ token })}${location.hash}`);
      return;
    }
    field.setCustomValidity("This is not the token of this server.");
  } catch (error) {
    field.setCustomValidity(/** @type {Error} */ (error).message);
  }
  field.reportValidity();
});
byId("token").addEventListener("input", (event) => event.target.setCustomValidity(""));

store.watch(["layout"], ({ layout }) => remember("layout", layout));
store.watch(["filtersOpen"], ({ filtersOpen }) =>
  remember("filters", filtersOpen ? "open" : "closed"));

store.watch(["connection"], ({ connection, archive }) => {
  byId("token-panel").hidden = connection !== "token";
  byId("main").hidden = connection === "token" || !archive;
  const waits = connection === "connecting" || (connection === "unreachable" && !archive);
  byId("connecting").hidden = !waits;
  notices.banner(connection === "unreachable"
    ? "The server does not answer. Trying again every few seconds …" : null);
});

store.watch(["archive", "connection"], ({ archive, connection }) => {
  if (!archive) return;
  byId("main").hidden = connection === "token";
  byId("connecting").hidden = true;
  document.title = `${archive.name} – inres`;
  fill(byId("archive-name"), el("bdi", {}, archive.name));
  byId("disclaimer").textContent = archive.not_a_medical_device;
});

store.watch(["archive", "networks"], ({ archive, networks }) => {
  if (!archive) return;
  byId("archive-facts").textContent = networks === "starting"
    ? "Loading the networks; the first search waits for them."
    : `${counted(archive.archived, "item")}, ${archive.bits} bits`;
});

store.watch(["query", "scan", "item"], ({ query, scan }) => {
  byId("back-to-scan").hidden = !scan || query?.kind === "scan";
  const { series = [] } = scan ?? {};
  const several = query?.kind === "scan" && series.length > 1;
  const place = byId("series");
  place.hidden = !several;
  if (several) {
    fill(place, series.map(({ uid, text }) => el("option", {
      value: uid, selected: uid === scan?.series_uid,
    }, text)));
  }
  const scanNotes = query?.kind === "scan" ? scan?.notes ?? [] : [];
  fill(byId("scan-notes-list"), scanNotes.map((text) => el("li", {}, el("bdi", {}, text))));
  byId("scan-notes").hidden = !scanNotes.length;
  if (scan?.lungs === 0) byId("scan-notes").open = true;
  byId("scan-notes-title").textContent = counted(scanNotes.length, "note on this scan",
    "notes on this scan");
});
byId("series").addEventListener("change", (event) => session.openSeries(event.target.value));

/** Follows how the server loads its networks; other failures show with the next request. */
async function watchNetworks() {
  /** @type {"starting"|"ready"|"failed"} */
  let networks = "starting";
  try {
    while (networks === "starting") {
      networks = (await api.getHealth()).status;
      store.set({ networks });
      if (networks === "starting") await new Promise((go) => setTimeout(go, STARTING_MS));
    }
  } catch {
    store.set({ networks: "ready" });
  }
  if (networks === "failed") {
    notices.banner("The networks of this archive cannot be loaded, so only its own items can be "
      + "searched with. The log of the server says where it failed.");
  }
}

async function start() {
  try {
    const archive = await api.getArchive();
    store.set({ archive, connection: "ready" });
    watchNetworks();
  } catch (error) {
    if (!onFailure(/** @type {any} */ (error))) {
      notices.banner(/** @type {Error} */ (error).message, {
        label: "Try again", press: () => location.reload(),
      });
    }
    return;
  }
  await address.read();
}

start();
