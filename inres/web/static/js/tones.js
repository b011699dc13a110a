/** Grey values of one CT window as those of another. */

/** @typedef {[number, number]} Window  The HU that are black and white. */

const KEPT = 8;

/**
 * The grey value in one window for each grey value in another: Uint8ClampedArray [256].
 *
 * @param {Window} from
 * @param {Window} to
 */
export function toneTable([low, high], [black, white]) {
  return Uint8ClampedArray.from({ length: 256 }, (_, grey) =>
    Math.round(((low + (grey / 255) * (high - low) - black) / (white - black)) * 255));
}

/** Images in another window; the last few are kept. */
export function createTones() {
  /** @type {Map<string, HTMLCanvasElement>} */
  const kept = new Map();

  return {
    /**
     * @param {string} url  Of the image.
     * @param {ImageBitmap} image  Grey.
     * @param {Window} from
     * @param {Window} to
     */
    map(url, image, from, to) {
      const key = `${url} ${from} ${to}`;
      const before = kept.get(key);
      if (before) return before;
      const canvas = document.createElement("canvas");
      [canvas.width, canvas.height] = [image.width, image.height];
      const context = /** @type {CanvasRenderingContext2D} */ (
        canvas.getContext("2d", { willReadFrequently: true }));
      context.drawImage(image, 0, 0);
      const pixels = context.getImageData(0, 0, image.width, image.height);
      const table = toneTable(from, to);
      for (let at = 0; at < pixels.data.length; at += 4) {
        const grey = table[pixels.data[at]];
        pixels.data[at] = pixels.data[at + 1] = pixels.data[at + 2] = grey;
      }
      context.putImageData(pixels, 0, 0);
      kept.set(key, canvas);
      if (kept.size > KEPT) kept.delete(/** @type {string} */ (kept.keys().next().value));
      return canvas;
    },
  };
}
