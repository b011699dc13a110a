/** Rows of column, operator and value that make a condition on records. */

/** @typedef {import("./types.js").Column} Column */
/** @typedef {import("./types.js").Condition} Condition */

import { button, el, fill } from "./dom.js";
import { icon } from "./icons.js";
import { ALONE, NUMBER_OPERATORS, TEXT_OPERATORS } from "./where.js";

/**
 * @param {HTMLElement} place
 * @param {(conditions: Condition[]) => void} onChange
 */
export function createConditions(place, onChange) {
  /** @type {Column[]} */
  let columns = [];
  /** @type {Condition[]} */
  let conditions = [];

  const kindOf = (name) => columns.find((one) => one.name === name)?.kind ?? "text";
  const operatorsOf = (name) => (kindOf(name) === "text" ? TEXT_OPERATORS : NUMBER_OPERATORS);

  /** @param {number} at @param {Partial<Condition>} patch */
  function change(at, patch) {
    conditions = conditions.map((one, i) => (i === at ? { ...one, ...patch } : one));
    onChange(conditions);
  }

  /** @param {number} at @param {string} column */
  function changeColumn(at, column) {
    const operators = operatorsOf(column);
    const { operator } = conditions[at];
    change(at, { column, operator: operators.includes(operator) ? operator : operators[0] });
    draw();
  }

  /** @param {Condition} one @param {number} at */
  function row(one, at) {
    const text = kindOf(one.column) === "text";
    const input = (field, label) => el("input", {
      type: "text", inputMode: text ? "text" : "decimal", value: one[field], "aria-label": label,
      autocomplete: "off", spellcheck: false, class: "value",
      on: { input: (event) => change(at, { [field]: event.target.value }) },
    });
    return el("div", { class: "condition", role: "group", "aria-label": `Condition ${at + 1}` },
      el("select", {
        "aria-label": "Column", class: "column",
        on: { change: (event) => changeColumn(at, event.target.value) },
      }, columns.map(({ name }) => option(name, name === one.column))),
      el("select", {
        "aria-label": "Operator", class: "operator",
        on: { change: (event) => { change(at, { operator: event.target.value }); draw(); } },
      }, operatorsOf(one.column).map((name) => option(name, name === one.operator))),
      !ALONE.includes(one.operator) && input("value", "Value"),
      one.operator === "between" && input("upper", "Upper value"),
      button(icon("close"), () => {
        conditions = conditions.filter((_, i) => i !== at);
        draw();
        onChange(conditions);
        add.focus();
      }, { class: "quiet icon-only", "aria-label": `Remove condition ${at + 1}` }));
  }

  const rows = el("div", { class: "conditions" });
  const add = button([icon("add"), "Add condition"], () => {
    const column = columns.find(({ name }) => !["item", "image"].includes(name)) ?? columns[0];
    conditions = [...conditions, {
      column: column.name, operator: operatorsOf(column.name)[0], value: "", upper: "",
    }];
    draw();
    onChange(conditions);
    /** @type {any} */ (rows.lastElementChild?.firstElementChild)?.focus();
  }, { class: "quiet" });
  fill(place, rows, add);

  const draw = () => fill(rows, conditions.map(row));

  return {
    /** @param {Column[]} all */
    setColumns(all) {
      columns = all;
      draw();
    },

    /** @param {Condition[]} now */
    set(now) {
      if (now === conditions) return;
      conditions = now;
      draw();
    },
  };
}

/** @param {string} name @param {boolean} selected */
const option = (name, selected) => el("option", { value: name, selected }, name);
