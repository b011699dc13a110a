/** Icons as inline SVG, drawn with the colour of the text around them. */

const SVG = "http://www.w3.org/2000/svg";

/** Outlines on a grid of 24 x 24. */
const PATHS = {
  open: "M3 7a2 2 0 0 1 2-2h4l2 2h8a2 2 0 0 1 2 2v8a2 2 0 0 1-2 2H5a2 2 0 0 1-2-2z",
  folder: "M3 7a2 2 0 0 1 2-2h4l2 2h8a2 2 0 0 1 2 2v8a2 2 0 0 1-2 2H5a2 2 0 0 1-2-2z",
  scan: "M12 3 3 7.5l9 4.5 9-4.5zM3 12l9 4.5 9-4.5M3 16.5 12 21l9-4.5",
  upload: "M12 16V4m0 0L7 9m5-5 5 5M4 16v3a1 1 0 0 0 1 1h14a1 1 0 0 0 1-1v-3",
  dark: "M20 14.5A8.5 8.5 0 0 1 9.5 4a8.5 8.5 0 1 0 10.5 10.5z",
  light: "M12 8a4 4 0 1 0 0 8 4 4 0 0 0 0-8zM12 2v2m0 16v2M2 12h2m16 0h2M5 5l1.4 1.4m11.2 11.2"
    + "L19 19M5 19l1.4-1.4M17.6 6.4 19 5",
  auto: "M12 3a9 9 0 1 0 0 18 9 9 0 0 0 0-18zM12 3v18M12 7l5.5-1M12 12h9M12 17l5.5 1",
  close: "M6 6l12 12M18 6 6 18",
  forward: "M9 5l7 7-7 7",
  grid: "M4 4h7v7H4zM13 4h7v7h-7zM4 13h7v7H4zM13 13h7v7h-7z",
  search: "M11 4a7 7 0 1 0 0 14 7 7 0 0 0 0-14zM16 16l4.5 4.5",
  add: "M12 5v14M5 12h14",
  warning: "M12 4 2.5 20h19zM12 10v5M12 17.5v.5",
};

/**
 * An icon, hidden from screen readers: the control around it has a name.
 *
 * @param {keyof typeof PATHS} name
 */
export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  const path = document.createElementNS(SVG, "path");
  path.setAttribute("d", PATHS[name]);
  svg.append(path);
  return svg;
}

/** Shapes of the verdicts on a grid of 16 x 16: full, half, empty, and a dash. */
const MARKS = {
  similar: ["M8 2a6 6 0 1 0 0 12A6 6 0 0 0 8 2z", "solid"],
  partly: ["M8 2a6 6 0 0 0 0 12z", "solid"],
  different: ["", ""],
  unknown: ["M4 8h8", "line"],
};

/**
 * The mark of a verdict: a full, half or empty circle, or a dash, so that colour is not needed.
 *
 * @param {"similar"|"partly"|"different"|"unknown"} verdict
 */
export function mark(verdict) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", "0 0 16 16");
  svg.setAttribute("class", `mark ${verdict}`);
  svg.setAttribute("aria-hidden", "true");
  if (verdict !== "unknown") {
    const ring = document.createElementNS(SVG, "circle");
    for (const [key, value] of [["cx", "8"], ["cy", "8"], ["r", "5.5"], ["class", "ring"]]) {
      ring.setAttribute(key, value);
    }
    svg.append(ring);
  }
  const [d, kind] = MARKS[verdict];
  if (d) {
    const path = document.createElementNS(SVG, "path");
    path.setAttribute("d", d);
    path.setAttribute("class", kind);
    svg.append(path);
  }
  return svg;
}
