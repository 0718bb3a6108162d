// The view of the charts, kept in the URL, so that a link shows what its sender saw.
const DEFAULTS = { smooth: "0", raw: "line", x: "step", log: "", clip: "", from: "", to: "" };

const parseNumber = (text) => (text === "" || Number.isNaN(Number(text)) ? null : Number(text));

function readQuery() {
  const query = new URLSearchParams(location.search);
  return Object.fromEntries(Object.entries(DEFAULTS).map(([name, usual]) => [name, query.get(name) ?? usual]));
}

export class Options {
  #given = readQuery();

  constructor(form, onChange) {
    this.form = form;
    this.onChange = onChange;
    this.#fillForm();
    form?.addEventListener("input", ({ target }) => {
      if (target.name in DEFAULTS) this.#readForm();
    });
  }

  get weight() {
    return Math.min(Math.max(parseNumber(this.#given.smooth) ?? 0, 0), 0.99);
  }
  get raw() {
    return this.#given.raw;
  }
  get axis() {
    return ["seconds", "tokens"].includes(this.#given.x) ? this.#given.x : "step";
  }
  get log() {
    return this.#given.log === "1";
  }
  get clip() {
    return this.#given.clip === "1";
  }
  get from() {
    return parseNumber(this.#given.from);
  }
  get to() {
    return parseNumber(this.#given.to);
  }
  // What decides how a chart is made, beyond its numbers.
  get shape() {
    const { from, to, ...shape } = this.#given;
    return JSON.stringify(shape);
  }

  zoom(from, to) {
    Object.assign(this.#given, { from: from ?? "", to: to ?? "" });
    this.#fillForm();
    this.#writeUrl();
  }

  #fillForm() {
    for (const [name, value] of Object.entries(this.#given)) {
      const field = this.form?.elements.namedItem(name);
      if (field?.type === "checkbox") field.checked = value === "1";
      else if (field) field.value = value;
    }
  }

  #readForm() {
    const axis = this.#given.x;
    for (const name in DEFAULTS) {
      const field = this.form.elements.namedItem(name);
      if (field) this.#given[name] = field.type === "checkbox" ? (field.checked ? "1" : "") : field.value;
    }
    if (axis !== this.#given.x) this.zoom(null, null); // another unit
    else this.#writeUrl();
  }

  #writeUrl() {
    const url = new URL(location);
    for (const [name, value] of Object.entries(this.#given)) {
      if (value === DEFAULTS[name]) url.searchParams.delete(name);
      else url.searchParams.set(name, value);
    }
    history.replaceState(history.state, "", url);
    this.onChange();
  }
}
