// One figure: its traces out of the sources' points, the uPlot that shows them, their table and picture.
import uPlot from "uplot";
import { COLOURS, PAPER, theme } from "./ink.js";
import { envelope, isSparse, known, lastKnown, withoutOutliers } from "./points.js";
import { picture, save, tabbed } from "./takeaway.js";

const DASHES = [[], [6, 4], [2, 3], [10, 3, 2, 3]];
const CSS_DASHES = ["solid", "dashed", "dotted", "double"];
const WIDTHS = [2, 1.25, 3];
const HEIGHT = 200;
const NEAR = "300px";
const UNITS = { step: "step", seconds: "seconds of training", tokens: "tokens answered" };
const ZOOM_LEAST_PX = 5;

const tidy = (value) => (known(value) ? String(Number(Number(value).toPrecision(4))) : "–");

// The metric's name without what its chart's title says already.
function labelOf(name) {
  if (name === "held_out/reward") return "held-out reward";
  const part = name.match(/^rewards\/(.*)\/mean$/) ?? name.match(/^tasks\/(.*)\/[a-z_]+$/);
  return part ? part[1] : name.replace(/^[a-z]+\//, "").replaceAll("_", " ");
}

// Marks of the time axis, in the unit that their distance asks for.
function clock(ticks) {
  const [size, unit] = ticks.at(-1) >= 7200 ? [3600, "h"] : ticks.at(-1) >= 120 ? [60, "min"] : [1, "s"];
  return ticks.map((tick) => `${tidy(tick / size)} ${unit}`);
}

// Marks between two steps would name steps that do not exist.
const wholeSteps = (ticks) => ticks.map((tick) => (Number.isInteger(tick) ? tidy(tick) : ""));

// Some room around the values; around a single one as much as it takes to give the axis a scale.
function room(least, greatest) {
  if (!known(least)) return [0, 1];
  if (least < greatest) return uPlot.rangeNum(least, greatest, 0.1, true);
  const margin = Math.max(Math.abs(least) * 0.1, 0.05);
  return [least - margin, greatest + margin];
}

function pattern(wanted) {
  const [start, end] = wanted.replace("+", "").split("*");
  return (name) => (end === undefined ? name === wanted : name.startsWith(start) && name.endsWith(end));
}

export class Chart {
  #near = false;
  #stale = false;
  #shape = "";
  #plot = null;
  #table = [];
  #drawn = [];

  constructor(figure, sources, options) {
    this.figure = figure;
    this.sources = sources;
    this.options = options;
    const series = JSON.parse(figure.dataset.series);
    this.matches = series.map(pattern);
    this.reasons = series.filter((wanted) => !wanted.startsWith("+")).map(pattern);
    this.box = figure.querySelector("[data-plot]");
    figure.querySelector("[data-copy-values]")?.addEventListener("click", () => this.#copy());
    figure.querySelector("[data-png]")?.addEventListener("click", () => this.#savePicture());
    figure.querySelector("details")?.addEventListener("toggle", () => this.#fillTable());
    this.box.addEventListener("keydown", (event) => this.#step(event));
    new ResizeObserver(() => this.#plot?.setSize({ width: this.#width, height: HEIGHT })).observe(this.box);
    new IntersectionObserver(([entry]) => this.#come(entry.isIntersecting), { rootMargin: NEAR }).observe(figure);
  }

  // What was never counted, such as tokens, cannot be drawn against.
  get #axis() {
    const { axis } = this.options;
    return this.sources.some(({ points }) => points.axis(axis).at(-1) > 0) ? axis : "step";
  }

  // Far below the window nothing is drawn until somebody comes near.
  draw() {
    const asksFor = (name) => this.reasons.some((match) => match(name));
    this.figure.hidden = !this.sources.some(({ points }) => points.names.some(asksFor));
    this.#stale = true;
    if (this.#near) this.#paint();
  }

  get #width() {
    return Math.max(this.box.clientWidth, 200);
  }

  #wanted = (name) => this.matches.some((match) => match(name));

  #come(near) {
    this.#near = near;
    if (near && this.#stale) this.#paint();
  }

  get #traces() {
    const several = this.sources.length > 1;
    return this.sources.flatMap((source, place) => {
      const names = source.points.names.filter(this.#wanted);
      return names.map((name, at) => ({
        source,
        name,
        label: several ? [source.name, ...(names.length > 1 ? [labelOf(name)] : [])].join(" · ") : labelOf(name),
        // Jobs differ by colour and dash, their metrics by width.
        colour: several ? place : at,
        dash: DASHES[source.baseline ? 1 : several ? place % 4 : Math.floor(at / COLOURS.light.length) % 4],
        width: several ? WIDTHS[at % 3] : WIDTHS[0],
      }));
    });
  }

  // The lines of a trace: what is drawn of it, each with its column.
  #lines(trace) {
    const { weight, raw } = this.options;
    const column = trace.source.points.column(trace.name);
    if (weight === 0 || isSparse(column)) return [{ trace, kind: "line", column }];
    const smoothed = { trace, kind: "line", column: trace.source.points.smoothed(trace.name, weight) };
    if (raw === "off") return [smoothed];
    if (raw === "band") {
      const [high, low] = envelope(column, weight);
      return [{ trace, kind: "high", column: high }, { trace, kind: "low", column: low }, smoothed];
    }
    return [{ trace, kind: "raw", column }, smoothed];
  }

  #data(lines) {
    const positive = (column) => column.map((value) => (value > 0 ? value : null));
    const shown = (column) => (this.options.log ? positive(column) : column);
    const tables = this.sources
      .map(({ points }) => [points, lines.filter(({ trace }) => trace.source.points === points)])
      .filter(([, own]) => own.length)
      .map(([points, own]) => [points.axis(this.#axis), ...own.map(({ column }) => shown(column))]);
    return tables.length > 1 ? uPlot.join(tables) : tables[0];
  }

  #paint() {
    this.#stale = false;
    if (this.figure.hidden) return;
    const lines = this.#traces.flatMap((trace) => this.#lines(trace));
    const shape = JSON.stringify([lines.map(({ trace, kind }) => [trace.label, kind]), this.#axis, this.options.shape, theme()]);
    this.#table = this.#data(lines);
    if (this.#plot && shape === this.#shape) this.#plot.setData(this.#table);
    else this.#create(lines);
    this.#shape = shape;
    this.#drawn = lines;
    this.#fillTable();
  }

  #create(lines) {
    this.#plot?.destroy();
    const paper = PAPER[theme()];
    const grid = { stroke: paper.grid, width: 1 };
    const axis = { stroke: paper.text, grid, ticks: grid };
    const marks = { seconds: clock, step: wholeSteps }[this.#axis];
    const across = marks ? { ...axis, values: (_, ticks) => marks(ticks) } : axis;
    this.#plot = new uPlot(
      {
        width: this.#width,
        height: HEIGHT,
        scales: { x: { time: false, range: this.#rangeX }, y: this.#scaleY() },
        axes: [across, { ...axis, size: 64, values: (_, ticks) => ticks.map((tick) => (tick === null ? "" : tidy(tick))) }],
        series: [{ label: UNITS[this.#axis], value: (_, value) => tidy(value) }, ...lines.map((line) => this.#series(line))],
        bands: lines.flatMap(({ kind, trace }, at) =>
          kind === "high" ? [{ series: [at + 1, at + 2], fill: this.#ink(trace) + "33" }] : []),
        cursor: { dataIdx: (plot, at, place) => (at === 0 ? place : lastKnown(plot.data[at], place)), sync: { key: "charts" }, focus: { prox: 24 }, drag: { setScale: false }, bind: { dblclick: () => () => this.options.zoom(null, null) } },
        focus: { alpha: 0.25 },
        legend: { markers: { dash: (plot, at) => CSS_DASHES[DASHES.indexOf(plot.series[at].dash)] ?? "solid" } },
        hooks: { setSelect: [(plot) => this.#zoom(plot)], setLegend: [(plot) => this.#rest(plot)] },
      },
      this.#table,
      this.box,
    );
    for (const row of this.box.querySelectorAll(".u-legend .aside")) row.hidden = true;
  }

  #ink(trace) {
    return trace.source.baseline ? PAPER[theme()].baseline : COLOURS[theme()][trace.colour % COLOURS.light.length];
  }

  #series({ trace, kind, column }) {
    const faint = kind === "raw";
    return {
      label: kind === "line" ? trace.label : `${trace.label} (${kind})`,
      class: kind === "line" ? undefined : "aside",
      stroke: kind === "line" || faint ? this.#ink(trace) + (faint ? "55" : "") : undefined,
      width: kind === "line" ? trace.width : faint ? 1 : 0,
      dash: trace.dash,
      spanGaps: isSparse(column),
      points: { show: kind === "line" && (isSparse(column) || column.filter(known).length < 3), size: 7 },
      value: (plot, value, _, place) => this.#told(value, place, plot.legend.idxs[0]),
    };
  }

  // A value, with its own step if that is another one than the legend's.
  #told(value, place, shown) {
    const across = this.#table[0];
    if (!known(value) || across[place] === across[shown]) return tidy(value);
    const at = this.#axis === "seconds" ? clock([across[place]])[0] : tidy(across[place]);
    return `${tidy(value)} (${this.#axis === "seconds" ? "at" : this.#axis} ${at})`;
  }

  #rangeX = (_, least, greatest) => {
    const { from, to } = this.options;
    const range = [from ?? least, to ?? greatest];
    if (range[0] < range[1]) return range;
    return this.#axis === "step" && known(least) ? [least - 1, least + 1] : room(least, greatest);
  };

  #scaleY() {
    if (this.options.log) return { distr: 3 };
    if (!this.options.clip) return { range: (_, least, greatest) => room(least, greatest) };
    const inner = (plot) => {
      const [from, to] = plot.series[0].idxs ?? [0, plot.data[0].length - 1];
      return room(...withoutOutliers(plot.data.slice(1), from, to));
    };
    return { range: inner };
  }

  // Away from the crosshair the legend tells each line's last value, and its step where that is an earlier one.
  #rest(plot) {
    if (plot.cursor.idx !== null) return;
    const lines = plot.data.slice(1).map((column) => lastKnown(column) ?? -1);
    plot.setLegend({ idxs: [Math.max(...lines), ...lines] }, false);
  }

  #zoom(plot) {
    const { left, width } = plot.select;
    if (width < ZOOM_LEAST_PX) return;
    const at = (pixel) => Number(plot.posToVal(pixel, "x").toPrecision(6));
    plot.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
    this.options.zoom(at(left), at(left + width));
  }

  // Arrow keys move the crosshair of all charts and say what it meets.
  #step(event) {
    const last = (this.#table[0]?.length ?? 0) - 1;
    const place = this.#plot?.cursor.idx ?? -1;
    const target = { ArrowLeft: place - 1, ArrowRight: place + 1, Home: 0, End: last }[event.key];
    if (target === undefined || !this.#plot || last < 0) return;
    event.preventDefault();
    const to = Math.min(Math.max(target, 0), last);
    const meeting = { left: this.#plot.valToPos(this.#table[0][to], "x"), top: this.#plot.over.clientHeight / 2 };
    this.#plot.setCursor(meeting, true, true);
    const met = this.#table.map((column, at) => (at === 0 ? to : lastKnown(column, to)));
    const said = met.map((place, at) => `${this.#heads[at]} ${this.#told(this.#table[at][place], place, to)}`);
    document.getElementById("announce").textContent = said.join(", ");
  }

  // --- the values, to read, copy and keep --------------------------------------------------------

  get #heads() {
    return [UNITS[this.#axis], ...this.#drawn.map(({ trace, kind }) => (kind === "line" ? trace.label : `${trace.label} (${kind})`))];
  }

  #rows(from = 0, to = undefined) {
    const rows = this.#table[0].slice(from, to);
    return rows.map((x, place) => [x, ...this.#table.slice(1).map((column) => column[from + place] ?? "")]);
  }

  #fillTable() {
    const body = this.figure.querySelector("[data-values]");
    if (!body?.closest("details").open || !this.#table.length) return;
    const cell = (tag, text) => Object.assign(document.createElement(tag), { textContent: text });
    const row = (cells) => {
      const tr = document.createElement("tr");
      tr.append(...cells);
      return tr;
    };
    body.replaceChildren(
      row(this.#heads.map((head) => cell("th", head))),
      ...this.#rows().map((values) => row(values.map((value) => cell("td", value)))),
    );
  }

  async #copy() {
    await navigator.clipboard.writeText(tabbed([this.#heads, ...this.#rows()]));
    const detail = { text: `Values of “${this.figure.dataset.title}” copied; paste them into a sheet.`, kind: "success" };
    document.body.dispatchEvent(new CustomEvent("toast", { detail }));
  }

  #savePicture() {
    const lines = this.#drawn.filter(({ kind }) => kind === "line");
    const legend = lines.map(({ trace }) => ({ label: trace.label, colour: this.#ink(trace), dash: trace.dash }));
    const canvas = picture(this.box.querySelector("canvas"), this.figure.dataset.title, UNITS[this.#axis], legend, PAPER[theme()]);
    canvas.toBlob((blob) => save(blob, `${this.figure.dataset.title}.png`));
  }
}
