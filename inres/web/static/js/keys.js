/** Keys that work everywhere on the page, and the list of all keys. */

import { byId, el, fill } from "./dom.js";
import { recall, remember } from "./memory.js";

const OFF = "single-keys-off";

/** @type {[string, [string, string][]][]}  All keys, for the help. */
const TABLE = [
  ["Scan", [
    ["Wheel, \u2191 \u2193", "next slice up or down"],
    ["Page Up, Page Down", "ten slices"],
    ["Home, End", "lowest and highest slice"],
    ["Click, drag", "search at this place"],
    ["Shift + arrows", "move the place by one pixel"],
    ["Enter", "search at the place on this slice, or in the middle of the view"],
    ["+ \u2212 0, Ctrl + wheel", "zoom in, out, and fit"],
    ["Right or middle drag", "move the image"],
    ["W", "lung or narrow window"],
    ["Touch", "tap: search at this place; one finger: scroll; two fingers: zoom and move"],
  ]],
  ["Results", [
    ["J, K", "next and previous result"],
    ["1 to 9", "open a result"],
    ["Enter", "open the result in focus"],
    ["G", "list or grid"],
    ["F", "filters and options"],
  ]],
  ["Result, side by side", [
    ["Wheel, \u2191 \u2193", "scroll both"],
    ["\u2190 \u2192", "previous and next result"],
    ["M", "more like this"],
    ["Esc", "close"],
  ]],
  ["Page", [
    ["O", "open a scan, picture or item"],
    ["V", "to the scan"],
    ["R", "to the results"],
    ["L", "copy a link to this query"],
    ["T", "theme"],
    ["?", "this help"],
  ]],
];

/**
 * @param {Object<string, () => void>} commands  By key, in lower case.
 */
export function createKeys(commands) {
  const dialog = byId("help");
  const single = byId("single-keys");
  single.checked = recall(OFF) !== "yes";
  single.addEventListener("change", () => remember(OFF, single.checked ? "" : "yes"));

  fill(byId("help-keys"), TABLE.map(([title, rows]) => el("section", {},
    el("h3", {}, title),
    el("dl", { class: "keys" }, rows.map(([keys, text]) =>
      el("div", {}, el("dt", {}, keys), el("dd", {}, text)))))));

  const help = () => (dialog.open ? dialog.close() : dialog.showModal());
  byId("help-open").addEventListener("click", help);
  byId("help-close").addEventListener("click", () => dialog.close());
  closeOnBackdrop(dialog);

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
    if (!single.checked || isTyping(event.target)) return;
    const key = event.key.toLowerCase();
    const open = document.querySelector("dialog[open]");
    if (key === "?") help();
    else if (open || !commands[key]) return;
    else commands[key]();
    event.preventDefault();
  });
}

/** @param {any} target */
export function isTyping(target) {
  if (!target?.matches) return false;
  return target.matches("textarea, select")
    || target.matches("input:not([type=range], [type=checkbox], [type=radio])");
}

/** @param {HTMLDialogElement} dialog */
export function closeOnBackdrop(dialog) {
  dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
}
