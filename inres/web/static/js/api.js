/** Requests to the server. Every failure is an `ApiError` with a message to show. */

/** @typedef {import("./types.js").Archive} Archive */
/** @typedef {import("./types.js").Answer} Answer */
/** @typedef {import("./types.js").Item} Item */
/** @typedef {import("./types.js").ItemRecord} ItemRecord */
/** @typedef {import("./types.js").Scan} Scan */
/** @typedef {import("./types.js").Source} Source */

/** A request that failed; `status` is 0 if the server did not answer. */
export class ApiError extends Error {
  /**
   * @param {string} message
   * @param {number} status
   * @param {string} [fix]
   */
  constructor(message, status, fix = "") {
    super(message);
    this.status = status;
    this.fix = fix;
  }
}

/** Whether an error only says that the request was cancelled. */
export const isCancelled = (error) => error instanceof DOMException && error.name === "AbortError";

/** @param {string} path */
const address = (path) => new URL(path, document.baseURI).href;

const UNREACHABLE = "The server does not answer.";
const RESTART = "Check that experiments.serve is running, then try again.";

/**
 * @param {number} status
 * @param {string} text  The body of the answer.
 */
function problemOf(status, text) {
  try {
    const { message, fix } = JSON.parse(text).error;
    if (message) return new ApiError(message, status, fix);
  } catch {
    // Not from this server's own handlers.
  }
  return new ApiError(`The server answered with status ${status}.`, status);
}

/**
 * @param {string} path
 * @param {RequestInit} [options]
 */
async function request(path, options = {}) {
  let answer;
  try {
    answer = await fetch(address(path), { credentials: "same-origin", ...options });
  } catch (error) {
    if (isCancelled(error)) throw error;
    throw new ApiError(UNREACHABLE, 0, RESTART);
  }
  if (!answer.ok) throw problemOf(answer.status, await answer.text());
  return answer;
}

/** @param {string} path @param {AbortSignal} [signal] */
const getJson = async (path, signal) => (await request(path, { signal })).json();

/** @param {any} body @param {AbortSignal} [signal] @returns {RequestInit} */
const posting = (body, signal) => ({
  method: "POST",
  headers: { "Content-Type": "application/json" },
  body: JSON.stringify(body),
  signal,
});

/** @returns {Promise<Archive>} */
export const getArchive = () => getJson("api/archive");

/**
 * Whether the server takes a token.
 *
 * @param {string} token
 */
export async function accepts(token) {
  try {
    await request("api/archive", { headers: { Authorization: `Bearer ${token}` } });
    return true;
  } catch (error) {
    if (/** @type {ApiError} */ (error).status === 401) return false;
    throw error;
  }
}

/** @returns {Promise<{status: "starting"|"ready"|"failed", version: string, items: number}>} */
export const getHealth = () => getJson("api/health");

/**
 * The entries of a folder below a root.
 *
 * @param {string} root
 * @param {string} path
 * @param {AbortSignal} [signal]
 * @returns {Promise<{root: string, path: string, entries: {name: string, path: string,
 *   kind: "folder"|"scan"|"series", bytes: ?number}[]}>}
 */
export const getFiles = (root, path, signal) =>
  getJson(`api/files?${new URLSearchParams({ root, path })}`, signal);

/**
 * Opens a scan below a root, or another series of a scan that is open.
 *
 * @param {Source|{scan: string, series_uid: string}} source
 * @param {AbortSignal} [signal]
 * @returns {Promise<{id: string}>}
 */
export const postScan = async (source, signal) =>
  (await request("api/scans", posting(source, signal))).json();

/** @param {string} id @param {AbortSignal} [signal] @returns {Promise<Scan>} */
export const getScan = (id, signal) => getJson(`api/scans/${encodeURIComponent(id)}`, signal);

/** @param {string} id */
export const deleteScan = (id) =>
  request(`api/scans/${encodeURIComponent(id)}`, { method: "DELETE", keepalive: true });

/** @param {string} id @param {number} slice @param {string} window */
export const sliceUrl = (id, slice, window) =>
  `api/scans/${encodeURIComponent(id)}/slices/${slice}.png?window=${encodeURIComponent(window)}`;

/** @param {any} body @param {AbortSignal} signal @returns {Promise<Answer>} */
export const postSearch = async (body, signal) =>
  (await request("api/search", posting(body, signal))).json();

/** @param {number} item @param {AbortSignal} [signal] @returns {Promise<Item>} */
export const getItem = (item, signal) => getJson(`api/items/${item}`, signal);

/** @param {number} item */
export const itemImageUrl = (item) => `api/items/${item}/image.png`;

/**
 * Records that meet a condition.
 *
 * @param {{where: string, offset: number, limit: number}} wanted
 * @param {AbortSignal} [signal]
 * @returns {Promise<{count: number, records: ItemRecord[]}>}
 */
export function getRecords({ where, offset, limit }, signal) {
  const query = new URLSearchParams({ offset: String(offset), limit: String(limit) });
  if (where) query.set("where", where);
  return getJson(`api/records?${query}`, signal);
}

/**
 * Results as a file.
 *
 * @param {any} body
 * @param {"csv"|"png"|"pdf"} format
 * @returns {Promise<{blob: Blob, name: string}>}
 */
export async function postExport(body, format) {
  const answer = await request(`api/export?format=${format}`, posting(body));
  const disposition = answer.headers.get("Content-Disposition") ?? "";
  const name = /filename="([^"]+)"/.exec(disposition)?.[1] ?? `results.${format}`;
  return { blob: await answer.blob(), name };
}

/**
 * An image as a bitmap.
 *
 * @param {string} url  Of the server, or the page's own (`blob:`, `data:`), which is not requested.
 * @param {AbortSignal} signal
 */
export async function getBitmap(url, signal) {
  if (/^(blob|data):/.test(url)) {
    const picture = new Image();
    picture.src = url;
    await picture.decode();
    return createImageBitmap(picture);
  }
  const answer = await request(url, { signal });
  const blob = await answer.blob();
  try {
    return await createImageBitmap(blob);
  } catch {
    throw new ApiError(`The image ${url} cannot be decoded.`, answer.status);
  }
}

/**
 * Uploads files. `fetch` does not report its progress, so this is an XMLHttpRequest.
 *
 * @param {{file: File, name: string}[]} files  With names relative to a common folder.
 * @param {(share: number) => void} onProgress
 * @param {AbortSignal} signal
 * @returns {Promise<{id: string, kind: "scan"|"image"}>}
 */
export function upload(files, onProgress, signal) {
  const form = new FormData();
  for (const { file, name } of files) form.append("file", file, name);
  const transfer = new XMLHttpRequest();
  return new Promise((resolve, reject) => {
    const cancelled = () => reject(new DOMException("cancelled", "AbortError"));
    transfer.upload.onprogress = ({ loaded, total }) => onProgress(total ? loaded / total : 0);
    transfer.onload = () => {
      if (transfer.status >= 200 && transfer.status < 300) {
        resolve(JSON.parse(transfer.responseText));
      } else reject(problemOf(transfer.status, transfer.responseText));
    };
    transfer.onerror = () => reject(new ApiError("The upload was interrupted.", 0, RESTART));
    transfer.onabort = cancelled;
    signal.addEventListener("abort", () => transfer.abort());
    transfer.open("POST", address("api/uploads"));
    transfer.send(form);
  });
}
