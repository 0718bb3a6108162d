// The numbers of one job, by step: a repeated step adds to what is known of it.
// `x/…` columns are horizontal axes; `~…` columns were smoothed by the server over steps that it left out.
export class Points {
  #bySteps = new Map();
  #columns = new Map();
  #weight = 0;
  thinned = false;

  load({ steps, series, x, thinned, smoothed }, weight) {
    this.#bySteps.clear();
    this.thinned = thinned;
    this.#weight = weight;
    const columns = { ...series };
    for (const [name, column] of Object.entries(x)) columns[`x/${name}`] = column;
    for (const [name, column] of Object.entries(smoothed ?? {})) columns[`~${name}`] = column;
    const entries = Object.entries(columns);
    steps.forEach((step, index) => {
      const values = this.#bySteps.get(step) ?? {};
      for (const [name, column] of entries) values[name] = column[index];
      this.#bySteps.set(step, values);
    });
    this.#columns.clear();
  }

  add(step, values) {
    const known = this.#bySteps.get(step);
    const last = this.#bySteps.get(this.steps.findLast((earlier) => earlier < step)) ?? {};
    const time = values.step_time ?? 0;
    const more = {
      "x/seconds": (last["x/seconds"] ?? 0) + time,
      "x/tokens": (last["x/tokens"] ?? 0) + time * (values.tokens_per_second ?? 0),
    };
    if (this.thinned && this.#weight > 0) {
      for (const [name, value] of Object.entries(values)) {
        const before = last[`~${name}`] ?? value;
        more[`~${name}`] = this.#weight * before + (1 - this.#weight) * value;
      }
    }
    this.#bySteps.set(step, known && !("step_time" in values) ? { ...known, ...values } : { ...known, ...more, ...values });
    this.#columns.clear();
  }

  rewind(step) {
    for (const known of [...this.#bySteps.keys()]) if (known > step) this.#bySteps.delete(known);
    this.#columns.clear();
  }

  get steps() {
    return this.#cache(" steps", () => [...this.#bySteps.keys()].sort((a, b) => a - b));
  }

  get names() {
    return this.#cache(" names", () => {
      const names = new Set();
      for (const values of this.#bySteps.values()) {
        for (const name in values) if (values[name] !== null && !/^(x\/|~)/.test(name)) names.add(name);
      }
      return [...names].sort();
    });
  }

  getColumn(name) {
    return this.#cache(name, () => this.steps.map((step) => this.#bySteps.get(step)[name] ?? null));
  }

  // The steps themselves, or what had been spent by then.
  getAxis(name) {
    return name === "step" ? this.steps : this.getColumn(`x/${name}`);
  }

  getSmoothed(name, weight) {
    if (this.thinned) return this.getColumn(`~${name}`);
    return this.#cache(`~${weight} ${name}`, () => smooth(this.getColumn(name), weight));
  }

  #cache(key, make) {
    if (!this.#columns.has(key)) this.#columns.set(key, make());
    return this.#columns.get(key);
  }
}

export const isKnown = (value) => value !== null && value !== undefined && value !== "";

// Index of the last known value, at `index` or before; null if there is none.
export function findLastKnown(column, index = column.length - 1) {
  const found = column.slice(0, index + 1).findLastIndex(isKnown);
  return found < 0 ? null : found;
}

// What fewer than half of the steps measure is drawn as it is: smoothing would mix values of far steps.
export const isSparse = (column) => column.length > 2 && 2 * column.filter(isKnown).length < column.length;

// Exponential moving average over the raw values, with the bias of its start removed.
export function smooth(values, weight) {
  let mean = 0;
  let total = 0;
  return values.map((value) => {
    if (value === null) return null;
    mean = weight * mean + (1 - weight) * value;
    total = weight * total + (1 - weight);
    return mean / total;
  });
}

// The least and the greatest value within as many steps as the smoothing looks back on.
export function findEnvelope(values, weight) {
  const reach = Math.max(1, Math.round(0.5 / (1 - weight)));
  const selectAround = (index) => values.slice(Math.max(0, index - reach), index + reach + 1).filter((value) => value !== null);
  const reduceAround = (choose) => values.map((_, index) => {
    const near = selectAround(index);
    return near.length ? choose(...near) : null;
  });
  return [reduceAround(Math.max), reduceAround(Math.min)];
}

// The range that holds the inner 98 % of the values.
export function findInnerRange(columns, from, to) {
  const known = columns
    .flatMap((column) => column.slice(from, to + 1))
    .filter((value) => value !== null && value !== undefined)
    .sort((a, b) => a - b);
  const findQuantile = (share) => known[Math.round(share * (known.length - 1))];
  return known.length ? [findQuantile(0.01), findQuantile(0.99)] : [null, null];
}
