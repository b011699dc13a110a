/** Files from a drop, a dialog or the clipboard, with names relative to what was chosen. */

/** @typedef {{file: File, name: string}} Named */

/** Files that systems leave in folders, and that are no part of a scan. */
const LEFT_BEHIND = [".ds_store", "thumbs.db", "desktop.ini"];

/** @param {FileSystemDirectoryEntry} folder @returns {Promise<FileSystemEntry[]>} */
async function entriesOf(folder) {
  const reader = folder.createReader();
  const all = [];
  for (;;) {
    // A reader returns at most 100 entries at a time.
    const some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
    if (!some.length) return all;
    all.push(...some);
  }
}

/** @param {any} entry @returns {Promise<Named[]>} */
async function filesOf(entry) {
  if (entry.isFile) {
    const file = await new Promise((resolve, reject) => entry.file(resolve, reject));
    return [{ file, name: entry.fullPath.replace(/^\//, "") }];
  }
  const found = [];
  for (const inner of await entriesOf(entry)) found.push(...await filesOf(inner));
  return found;
}

/**
 * Files of a drop, with those in folders.
 *
 * @param {DataTransfer} transfer
 * @returns {Promise<Named[]>}
 */
export async function dropped(transfer) {
  // The list is empty after the first await.
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  if (!entries.length) return chosen(transfer.files);
  const found = [];
  for (const entry of entries) found.push(...await filesOf(entry));
  return useful(found);
}

/**
 * Files of a dialog or of the clipboard.
 *
 * @param {Iterable<File>} files
 * @returns {Named[]}
 */
export const chosen = (files) =>
  useful([...files].map((file) => ({ file, name: file.webkitRelativePath || file.name })));

/** @param {Named[]} files */
function useful(files) {
  return files.filter(({ name }) =>
    !LEFT_BEHIND.includes((name.split("/").at(-1) ?? "").toLowerCase()));
}

/**
 * The name of an upload: its file, or the folder that all of its files are in.
 *
 * @param {Named[]} files
 */
export function nameOf(files) {
  const [first] = files;
  if (files.length === 1) return first.name.split("/").at(-1) ?? first.name;
  const folder = first.name.includes("/") ? first.name.split("/")[0] : "";
  const common = folder && files.every(({ name }) => name.startsWith(`${folder}/`));
  return common ? folder : `${files.length} files`;
}
