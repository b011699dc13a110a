/** Filters as an SQL condition on the records, as `SearchOptions.where` takes it. */

/** @typedef {import("./types.js").Column} Column */
/** @typedef {import("./types.js").Condition} Condition */
/** @typedef {import("./types.js").Filters} Filters */

/** Operators by what a column holds; those that need no value are in `ALONE`. */
export const NUMBER_OPERATORS = ["=", "≠", "<", "≤", ">", "≥", "between", "known", "unknown"];
export const TEXT_OPERATORS = ["is", "is not", "contains", "starts with", "known", "unknown"];
export const ALONE = ["known", "unknown"];

const SQL = { "=": "=", "≠": "<>", "<": "<", "≤": "<=", ">": ">", "≥": ">=" };

/** @param {string} name */
const quotedName = (name) => `"${name.replaceAll('"', '""')}"`;

/** @param {string} text */
const quotedText = (text) => `'${text.replaceAll("'", "''")}'`;

/**
 * A number as SQL; empty text if it is not a number.
 *
 * @param {string} text
 */
function number(text) {
  const value = Number(text.trim().replace(",", ".").replace("\u2212", "-"));
  return text.trim() !== "" && Number.isFinite(value) ? String(value) : "";
}

/**
 * One condition as SQL; empty text if it is not complete.
 *
 * @param {Condition} condition
 * @param {Column[]} columns
 */
function conditionSql({ column, operator, value, upper }, columns) {
  const found = columns.find(({ name }) => name === column);
  if (!found) return "";
  const name = quotedName(column);
  if (operator === "unknown") {
    return found.kind === "text" ? `(${name} IS NULL OR ${name} = '')` : `${name} IS NULL`;
  }
  if (operator === "known") {
    return found.kind === "text" ? `(${name} IS NOT NULL AND ${name} <> '')`
      : `${name} IS NOT NULL`;
  }
  if (found.kind === "text") {
    if (value === "") return "";
    const text = quotedText(value);
    if (operator === "is") return `${name} = ${text}`;
    if (operator === "is not") return `${name} <> ${text}`;
    // Without LIKE, whose wildcards could be part of the text.
    const at = `instr(lower(${name}), lower(${text}))`;
    return operator === "starts with" ? `${at} = 1` : `${at} > 0`;
  }
  const [low, high] = [number(value), number(upper)];
  if (operator === "between") return low && high ? `${name} BETWEEN ${low} AND ${high}` : "";
  return low && SQL[operator] ? `${name} ${SQL[operator]} ${low}` : "";
}

/**
 * All filters as one condition; empty for all items.
 *
 * @param {Filters} filters
 * @param {Column[]} columns
 */
export function whereOf({ classes, smallest, largest, conditions, sql }, columns) {
  const parts = [];
  if (classes.length) parts.push(`label IN (${[...classes].sort((a, b) => a - b).join(", ")})`);
  if (smallest !== null) parts.push(`diameter_mm >= ${smallest}`);
  if (largest !== null) parts.push(`diameter_mm <= ${largest}`);
  parts.push(...conditions.map((one) => conditionSql(one, columns)).filter(Boolean));
  const own = sql.trim();
  // On lines of its own, because it may end in a comment.
  if (own) parts.push(parts.length ? `(\n${own}\n)` : own);
  return parts.join(" AND ");
}

/**
 * A condition in words.
 *
 * @param {Condition} condition
 */
export function inWords({ column, operator, value, upper }) {
  if (ALONE.includes(operator)) return `${column} ${operator}`;
  if (operator === "between") return `${column} ${value} to ${upper}`;
  return `${column} ${operator} ${value}`;
}
