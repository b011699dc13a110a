/** The page's state: one object, replaced at each update, and those who watch it. */

/** @typedef {import("./types.js").State} State */
/** @typedef {import("./types.js").Filters} Filters */

/** @type {Filters} */
export const NO_FILTERS = Object.freeze({
  classes: [], smallest: null, largest: null, conditions: [], sql: "",
});

/** @type {State} */
export const INITIAL = Object.freeze({
  connection: "connecting",
  networks: "ready",
  archive: null,
  opening: null,
  problem: null,
  scan: null,
  query: null,
  item: null,
  picture: null,
  slice: 0,
  window: "lung",
  given: {},
  filters: NO_FILTERS,
  status: "idle",
  answer: null,
  failure: null,
  pane: "open",
  layout: "list",
  filtersOpen: false,
});

/**
 * Holds a state.
 *
 * `set` replaces some of its fields, then calls the watchers of fields that changed. A watcher that
 * sets fields itself is called again after all others have seen the first change.
 *
 * @param {State} initial
 */
export function createStore(initial) {
  let state = initial;
  /** @type {{fields: (keyof State)[], call: (now: State, before: State) => void}[]} */
  const watchers = [];
  /** @type {Partial<State>[]} */
  const waiting = [];
  let busy = false;

  /** @param {Partial<State>} patch */
  function apply(patch) {
    const before = state;
    state = Object.freeze({ ...state, ...patch });
    for (const { fields, call } of [...watchers]) {
      if (fields.some((field) => state[field] !== before[field])) call(state, before);
    }
  }

  return {
    get: () => state,

    /** @param {Partial<State>} patch */
    set(patch) {
      waiting.push(patch);
      if (busy) return;
      busy = true;
      try {
        for (let next = waiting.shift(); next; next = waiting.shift()) apply(next);
      } finally {
        busy = false;
        waiting.length = 0;
      }
    },

    /**
     * Calls `call` now and whenever one of the fields changes.
     *
     * @param {(keyof State)[]} fields
     * @param {(now: State, before: State) => void} call
     */
    watch(fields, call) {
      watchers.push({ fields, call });
      call(state, state);
    },
  };
}

/** @typedef {ReturnType<typeof createStore>} Store */
