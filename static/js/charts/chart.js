// One figure: its traces out of the sources' points, the uPlot that shows them, their table and picture.
import uPlot from "uplot";
import { COLOURS, PAPER, readTheme } from "./ink.js";
import { findEnvelope, findInnerRange, findLastKnown, isKnown, isSparse } from "./points.js";
import { drawPicture, formatAsTsv, saveBlob } from "./takeaway.js";

const DASHES = [[], [6, 4], [2, 3], [10, 3, 2, 3]];
const CSS_DASHES = ["solid", "dashed", "dotted", "double"];
const WIDTHS = [2, 1.25, 3];
const HEIGHT = 200;
const NEAR = "300px";
const UNITS = { step: "step", seconds: "seconds of training", tokens: "tokens answered" };
const ZOOM_LEAST_PX = 5;

const formatNumber = (value) => (isKnown(value) ? String(Number(Number(value).toPrecision(4))) : "–");

// The metric's name without what its chart's title says already.
function buildLabel(name) {
  if (name === "held_out/reward") return "held-out reward";
  const part = name.match(/^rewards\/(.*)\/mean$/) ?? name.match(/^tasks\/(.*)\/[a-z_]+$/);
  return part ? part[1] : name.replace(/^[a-z]+\//, "").replaceAll("_", " ");
}

// Marks of the time axis, in the unit that their distance asks for.
function formatTimes(ticks) {
  const [size, unit] = ticks.at(-1) >= 7200 ? [3600, "h"] : ticks.at(-1) >= 120 ? [60, "min"] : [1, "s"];
  return ticks.map((tick) => `${formatNumber(tick / size)} ${unit}`);
}

// Marks between two steps would name steps that do not exist.
const formatSteps = (ticks) => ticks.map((tick) => (Number.isInteger(tick) ? formatNumber(tick) : ""));

// Some room around the values; around a single one as much as it takes to give the axis a scale.
function addMargin(least, greatest) {
  if (!isKnown(least)) return [0, 1];
  if (least < greatest) return uPlot.rangeNum(least, greatest, 0.1, true);
  const margin = Math.max(Math.abs(least) * 0.1, 0.05);
  return [least - margin, greatest + margin];
}

function buildMatcher(wanted) {
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
    this.matches = series.map(buildMatcher);
    this.reasons = series.filter((wanted) => !wanted.startsWith("+")).map(buildMatcher);
    this.box = figure.querySelector("[data-plot]");
    figure.querySelector("[data-copy-values]")?.addEventListener("click", () => this.#copyValues());
    figure.querySelector("[data-png]")?.addEventListener("click", () => this.#savePicture());
    figure.querySelector("details")?.addEventListener("toggle", () => this.#fillTable());
    this.box.addEventListener("keydown", (event) => this.#moveCrosshair(event));
    new ResizeObserver(() => this.#plot?.setSize({ width: this.#width, height: HEIGHT })).observe(this.box);
    new IntersectionObserver(([entry]) => this.#setNear(entry.isIntersecting), { rootMargin: NEAR }).observe(figure);
  }

  // What was never counted, such as tokens, cannot be drawn against.
  get #axis() {
    const { axis } = this.options;
    return this.sources.some(({ points }) => points.getAxis(axis).at(-1) > 0) ? axis : "step";
  }

  // Far below the window nothing is drawn until somebody comes near.
  draw() {
    const isReason = (name) => this.reasons.some((match) => match(name));
    this.figure.hidden = !this.sources.some(({ points }) => points.names.some(isReason));
    this.#stale = true;
    if (this.#near) this.#paint();
  }

  get #width() {
    return Math.max(this.box.clientWidth, 200);
  }

  #isWanted = (name) => this.matches.some((match) => match(name));

  #setNear(near) {
    this.#near = near;
    if (near && this.#stale) this.#paint();
  }

  get #traces() {
    const several = this.sources.length > 1;
    return this.sources.flatMap((source, index) => {
      const names = source.points.names.filter(this.#isWanted);
      return names.map((name, at) => ({
        source,
        name,
        label: several ? [source.name, ...(names.length > 1 ? [buildLabel(name)] : [])].join(" · ") : buildLabel(name),
        // Jobs differ by colour and dash, their metrics by width.
        colour: several ? index : at,
        dash: DASHES[source.baseline ? 1 : several ? index % 4 : Math.floor(at / COLOURS.light.length) % 4],
        width: several ? WIDTHS[at % 3] : WIDTHS[0],
      }));
    });
  }

  // The lines of a trace: what is drawn of it, each with its column.
  #buildLines(trace) {
    const { weight, raw } = this.options;
    const column = trace.source.points.getColumn(trace.name);
    if (weight === 0 || isSparse(column)) return [{ trace, kind: "line", column }];
    const smoothed = { trace, kind: "line", column: trace.source.points.getSmoothed(trace.name, weight) };
    if (raw === "off") return [smoothed];
    if (raw === "band") {
      const [high, low] = findEnvelope(column, weight);
      return [{ trace, kind: "high", column: high }, { trace, kind: "low", column: low }, smoothed];
    }
    return [{ trace, kind: "raw", column }, smoothed];
  }

  #buildTable(lines) {
    const keepPositive = (column) => column.map((value) => (value > 0 ? value : null));
    const applyScale = (column) => (this.options.log ? keepPositive(column) : column);
    const tables = this.sources
      .map(({ points }) => [points, lines.filter(({ trace }) => trace.source.points === points)])
      .filter(([, own]) => own.length)
      .map(([points, own]) => [points.getAxis(this.#axis), ...own.map(({ column }) => applyScale(column))]);
    return tables.length > 1 ? uPlot.join(tables) : tables[0];
  }

  #paint() {
    this.#stale = false;
    if (this.figure.hidden) return;
    const lines = this.#traces.flatMap((trace) => this.#buildLines(trace));
    const shape = JSON.stringify([lines.map(({ trace, kind }) => [trace.label, kind]), this.#axis, this.options.shape, readTheme()]);
    this.#table = this.#buildTable(lines);
    if (this.#plot && shape === this.#shape) this.#plot.setData(this.#table);
    else this.#createPlot(lines);
    this.#shape = shape;
    this.#drawn = lines;
    this.#fillTable();
  }

  #createPlot(lines) {
    this.#plot?.destroy();
    const paper = PAPER[readTheme()];
    const grid = { stroke: paper.grid, width: 1 };
    const axis = { stroke: paper.text, grid, ticks: grid };
    const marks = { seconds: formatTimes, step: formatSteps }[this.#axis];
    const across = marks ? { ...axis, values: (_, ticks) => marks(ticks) } : axis;
    this.#plot = new uPlot(
      {
        width: this.#width,
        height: HEIGHT,
        scales: { x: { time: false, range: this.#findRangeX }, y: this.#buildScaleY() },
        axes: [across, { ...axis, size: 64, values: (_, ticks) => ticks.map((tick) => (tick === null ? "" : formatNumber(tick))) }],
        series: [{ label: UNITS[this.#axis], value: (_, value) => formatNumber(value) }, ...lines.map((line) => this.#buildSeries(line))],
        bands: lines.flatMap(({ kind, trace }, at) =>
          kind === "high" ? [{ series: [at + 1, at + 2], fill: this.#findColour(trace) + "33" }] : []),
        cursor: { dataIdx: (plot, at, index) => (at === 0 ? index : findLastKnown(plot.data[at], index)), sync: { key: "charts" }, focus: { prox: 24 }, drag: { setScale: false }, bind: { dblclick: () => () => this.options.zoom(null, null) } },
        focus: { alpha: 0.25 },
        legend: { markers: { dash: (plot, at) => CSS_DASHES[DASHES.indexOf(plot.series[at].dash)] ?? "solid" } },
        hooks: { setSelect: [(plot) => this.#zoomToSelection(plot)], setLegend: [(plot) => this.#resetLegend(plot)] },
      },
      this.#table,
      this.box,
    );
    for (const row of this.box.querySelectorAll(".u-legend .aside")) row.hidden = true;
  }

  #findColour(trace) {
    return trace.source.baseline ? PAPER[readTheme()].baseline : COLOURS[readTheme()][trace.colour % COLOURS.light.length];
  }

  #buildSeries({ trace, kind, column }) {
    const faint = kind === "raw";
    return {
      label: kind === "line" ? trace.label : `${trace.label} (${kind})`,
      class: kind === "line" ? undefined : "aside",
      stroke: kind === "line" || faint ? this.#findColour(trace) + (faint ? "55" : "") : undefined,
      width: kind === "line" ? trace.width : faint ? 1 : 0,
      dash: trace.dash,
      spanGaps: isSparse(column),
      points: { show: kind === "line" && (isSparse(column) || column.filter(isKnown).length < 3), size: 7 },
      value: (plot, value, _, index) => this.#formatValue(value, index, plot.legend.idxs[0]),
    };
  }

  // A value, with its own step if that is another one than the legend's.
  #formatValue(value, index, shown) {
    const across = this.#table[0];
    if (!isKnown(value) || across[index] === across[shown]) return formatNumber(value);
    const at = this.#axis === "seconds" ? formatTimes([across[index]])[0] : formatNumber(across[index]);
    return `${formatNumber(value)} (${this.#axis === "seconds" ? "at" : this.#axis} ${at})`;
  }

  #findRangeX = (_, least, greatest) => {
    const { from, to } = this.options;
    const range = [from ?? least, to ?? greatest];
    if (range[0] < range[1]) return range;
    return this.#axis === "step" && isKnown(least) ? [least - 1, least + 1] : addMargin(least, greatest);
  };

  #buildScaleY() {
    if (this.options.log) return { distr: 3 };
    if (!this.options.clip) return { range: (_, least, greatest) => addMargin(least, greatest) };
    const findInner = (plot) => {
      const [from, to] = plot.series[0].idxs ?? [0, plot.data[0].length - 1];
      return addMargin(...findInnerRange(plot.data.slice(1), from, to));
    };
    return { range: findInner };
  }

  // Away from the crosshair the legend tells each line's last value, and its step where that is an earlier one.
  #resetLegend(plot) {
    if (plot.cursor.idx !== null) return;
    const lines = plot.data.slice(1).map((column) => findLastKnown(column) ?? -1);
    plot.setLegend({ idxs: [Math.max(...lines), ...lines] }, false);
  }

  #zoomToSelection(plot) {
    const { left, width } = plot.select;
    if (width < ZOOM_LEAST_PX) return;
    const toValue = (pixel) => Number(plot.posToVal(pixel, "x").toPrecision(6));
    plot.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
    this.options.zoom(toValue(left), toValue(left + width));
  }

  // Arrow keys move the crosshair of all charts and say what it meets.
  #moveCrosshair(event) {
    const last = (this.#table[0]?.length ?? 0) - 1;
    const index = this.#plot?.cursor.idx ?? -1;
    const target = { ArrowLeft: index - 1, ArrowRight: index + 1, Home: 0, End: last }[event.key];
    if (target === undefined || !this.#plot || last < 0) return;
    event.preventDefault();
    const to = Math.min(Math.max(target, 0), last);
    const meeting = { left: this.#plot.valToPos(this.#table[0][to], "x"), top: this.#plot.over.clientHeight / 2 };
    this.#plot.setCursor(meeting, true, true);
    const met = this.#table.map((column, at) => (at === 0 ? to : findLastKnown(column, to)));
    const said = met.map((index, at) => `${this.#heads[at]} ${this.#formatValue(this.#table[at][index], index, to)}`);
    document.getElementById("announce").textContent = said.join(", ");
  }

  // --- the values, to read, copy and keep --------------------------------------------------------

  get #heads() {
    return [UNITS[this.#axis], ...this.#drawn.map(({ trace, kind }) => (kind === "line" ? trace.label : `${trace.label} (${kind})`))];
  }

  #selectRows(from = 0, to = undefined) {
    const rows = this.#table[0].slice(from, to);
    return rows.map((x, index) => [x, ...this.#table.slice(1).map((column) => column[from + index] ?? "")]);
  }

  #fillTable() {
    const body = this.figure.querySelector("[data-values]");
    if (!body?.closest("details").open || !this.#table.length) return;
    const createCell = (tag, text) => Object.assign(document.createElement(tag), { textContent: text });
    const createRow = (cells) => {
      const tr = document.createElement("tr");
      tr.append(...cells);
      return tr;
    };
    body.replaceChildren(
      createRow(this.#heads.map((head) => createCell("th", head))),
      ...this.#selectRows().map((values) => createRow(values.map((value) => createCell("td", value)))),
    );
  }

  async #copyValues() {
    await navigator.clipboard.writeText(formatAsTsv([this.#heads, ...this.#selectRows()]));
    const detail = { text: `Values of “${this.figure.dataset.title}” copied; paste them into a sheet.`, kind: "success" };
    document.body.dispatchEvent(new CustomEvent("toast", { detail }));
  }

  #savePicture() {
    const lines = this.#drawn.filter(({ kind }) => kind === "line");
    const legend = lines.map(({ trace }) => ({ label: trace.label, colour: this.#findColour(trace), dash: trace.dash }));
    const canvas = drawPicture(this.box.querySelector("canvas"), this.figure.dataset.title, UNITS[this.#axis], legend, PAPER[readTheme()]);
    canvas.toBlob((blob) => saveBlob(blob, `${this.figure.dataset.title}.png`));
  }
}
