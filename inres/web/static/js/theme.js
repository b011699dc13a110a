/** Dark, light, or as the system says. Dark unless chosen otherwise. */

import { byId, fill } from "./dom.js";
import { icon } from "./icons.js";
import { recall, remember } from "./memory.js";

const THEMES = /** @type {const} */ (["dark", "light", "auto"]);
const KEY = "theme";
const COLORS = { dark: "#0c0f12", light: "#eef1f4" };

export function createTheme(announce) {
  const control = byId("theme");
  const system = matchMedia("(prefers-color-scheme: light)");
  let chosen = THEMES.find((name) => name === recall(KEY)) ?? "dark";

  function show() {
    const shown = chosen === "auto" ? (system.matches ? "light" : "dark") : chosen;
    document.documentElement.dataset.theme = shown;
    document.querySelector("meta[name=theme-color]")?.setAttribute("content", COLORS[shown]);
    const text = `Theme: ${chosen === "auto" ? "as the system" : chosen}`;
    fill(control, icon(chosen));
    control.setAttribute("aria-label", text);
    control.title = `${text} (T)`;
  }

  function cycle() {
    chosen = THEMES[(THEMES.indexOf(chosen) + 1) % THEMES.length];
    remember(KEY, chosen);
    show();
    announce(control.getAttribute("aria-label"));
  }

  system.addEventListener("change", show);
  control.addEventListener("click", cycle);
  show();
  return { cycle };
}
