/** The border between query and results, which can be moved. */

import { byId } from "./dom.js";
import { clamp } from "./geometry.js";
import { recall, remember } from "./memory.js";

const KEY = "split";
const [LEAST, MOST, STEP, START] = [25, 70, 2, 42];

export function createSplit() {
  const border = byId("split");
  const main = byId("main");
  let share = clamp(Number(recall(KEY)) || START, LEAST, MOST);

  /** @param {number} percent */
  function set(percent) {
    share = clamp(percent, LEAST, MOST);
    main.style.setProperty("--query-share", `${share}%`);
    border.setAttribute("aria-valuenow", String(Math.round(share)));
    remember(KEY, String(share));
  }

  border.addEventListener("pointerdown", (event) => {
    border.setPointerCapture(event.pointerId);
    event.preventDefault();
  });
  border.addEventListener("pointermove", (event) => {
    if (!border.hasPointerCapture(event.pointerId)) return;
    const box = main.getBoundingClientRect();
    set(((event.clientX - box.left) / box.width) * 100);
  });
  border.addEventListener("dblclick", () => set(START));
  border.addEventListener("keydown", (event) => {
    const to = {
      ArrowLeft: share - STEP, ArrowRight: share + STEP, Home: LEAST, End: MOST,
    }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    set(to);
  });
  set(share);
}
