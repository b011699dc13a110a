/** Results as a file: a table, or a figure. */

/** @typedef {import("./state.js").Store} Store */

import { postExport } from "./api.js";
import { byId, el } from "./dom.js";
import { bodyOf } from "./search.js";

/**
 * @param {Store} store
 * @param {{say: (text: string) => void, onFailure: (error: any) => boolean}} page
 */
export function createExport(store, { say, onFailure }) {
  const menu = byId("export");

  /** @param {"csv"|"png"|"pdf"} format */
  async function save(format) {
    menu.open = false;
    menu.querySelector("summary").focus();
    const body = bodyOf(store.get());
    if (!body) return;
    try {
      const { blob, name } = await postExport(body, format);
      const url = URL.createObjectURL(blob);
      el("a", { href: url, download: name }).click();
      setTimeout(() => URL.revokeObjectURL(url), 60_000);
      say(`Saved ${name}.`);
    } catch (error) {
      if (!onFailure(error)) say(`Not saved: ${/** @type {Error} */ (error).message}`);
    }
  }

  for (const entry of menu.querySelectorAll("[data-format]")) {
    entry.addEventListener("click", () => save(entry.dataset.format));
  }
  document.addEventListener("click", (event) => {
    if (!menu.contains(event.target)) menu.open = false;
  });
  menu.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || !menu.open) return;
    event.stopPropagation();
    menu.open = false;
    menu.querySelector("summary").focus();
  });
}
