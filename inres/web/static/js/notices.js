/** Messages for screen readers, and the line above the page for what concerns all of it. */

import { button, byId, fill } from "./dom.js";
import { icon } from "./icons.js";

const PAUSE_MS = 350;

export function createNotices() {
  const live = byId("live");
  const banner = byId("banner");
  const toast = byId("toast");
  let speaking = 0;
  let showing = 0;

  /** @param {string} text */
  function announce(text) {
    clearTimeout(speaking);
    // A pause, so that a burst of results is read once.
    speaking = window.setTimeout(() => { live.textContent = text; }, PAUSE_MS);
  }

  return {
    announce,

    /**
     * Shows a message for some seconds.
     *
     * @param {string} text
     */
    say(text) {
      announce(text);
      toast.textContent = text;
      toast.hidden = false;
      clearTimeout(showing);
      showing = window.setTimeout(() => { toast.hidden = true; }, 4000);
    },

    /**
     * Shows a message until it is replaced; null removes it.
     *
     * @param {?string} text
     * @param {{label: string, press: () => void}} [action]
     */
    banner(text, action) {
      banner.hidden = !text;
      if (!text) return;
      fill(banner, icon("warning"), text, action && button(action.label, action.press));
    },
  };
}
