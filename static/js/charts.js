// Charts of one job: uPlot figures that share a toolbar, a crosshair and the points.
import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";

const DASHES = [[], [6, 4], [2, 3], [10, 3, 2, 3]];
const COLOURS = { light: ["#0d5c63", "#b4530a", "#1d4f91", "#7a2e6e"], dark: ["#6fc7cd", "#f0a35c", "#8ab8f2", "#dc9ad0"] };
const HEIGHT = 200;

const theme = () =>
  document.documentElement.dataset.theme ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");

// Points, keyed by step: a repeated step replaces the earlier one.
class Points {
  constructor() {
    this.bySteps = new Map();
  }
  load({ steps, series }) {
    steps.forEach((step, place) => {
      const values = {};
      for (const [name, column] of Object.entries(series)) values[name] = column[place];
      this.set(step, values);
    });
  }
  set(step, values) {
    this.bySteps.set(step, values);
  }
  rewind(step) {
    for (const known of [...this.bySteps.keys()]) if (known > step) this.bySteps.delete(known);
  }
  get steps() {
    return [...this.bySteps.keys()].sort((a, b) => a - b);
  }
  get names() {
    return [...new Set([...this.bySteps.values()].flatMap(Object.keys))].sort();
  }
  column(name) {
    return this.steps.map((step) => this.bySteps.get(step)[name] ?? null);
  }
}

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

// The metric's name without what its chart's title says already.
function labelOf(name) {
  if (name === "watch/reward") return "held-out reward";
  const part = name.match(/^rewards\/(.*)\/mean$/) ?? name.match(/^tasks\/(.*)\/[a-z_]+$/);
  return part ? part[1] : name.replace(/^[a-z]+\//, "");
}

class Chart {
  constructor(figure, points, options) {
    this.figure = figure;
    this.points = points;
    this.options = options;
    this.wanted = JSON.parse(figure.dataset.series);
    this.plot = null;
    this.shape = "";
    figure.querySelector("[data-csv]")?.addEventListener("click", () => this.saveCsv());
    figure.querySelector("[data-png]")?.addEventListener("click", () => this.savePng());
    new ResizeObserver(() => this.plot?.setSize({ width: this.width, height: HEIGHT })).observe(this.box);
  }
  get box() {
    return this.figure.querySelector("[data-plot]");
  }
  get width() {
    return Math.max(this.box.clientWidth, 200);
  }
  get names() {
    const matches = (name) => this.wanted.some((wanted) => {
      const [start, end] = wanted.split("*");
      return end === undefined ? name === wanted : name.startsWith(start) && name.endsWith(end);
    });
    return this.points.names.filter(matches).filter((name) => this.points.column(name).some((v) => v !== null));
  }
  data() {
    const columns = this.names.map((name) => this.points.column(name));
    const smoothed = this.options.weight > 0 ? columns.map((column) => smooth(column, this.options.weight)) : [];
    const shown = this.options.log ? (column) => column.map((value) => (value > 0 ? value : null)) : (column) => column;
    return [this.points.steps, ...[...columns, ...smoothed].map(shown)];
  }
  draw() {
    const names = this.names;
    this.figure.hidden = names.length === 0;
    if (this.figure.hidden) return;
    const shape = JSON.stringify([names, this.options, theme()]);
    if (this.plot && shape === this.shape) this.plot.setData(this.data());
    else this.create(names, shape);
    this.fillTable(names);
  }
  create(names, shape) {
    this.plot?.destroy();
    this.shape = shape;
    const dark = theme() === "dark";
    const grid = { stroke: dark ? "#2b3036" : "#e6e6e0", width: 1 };
    const axis = { stroke: dark ? "#a3abb2" : "#565d63", grid, ticks: grid };
    const colour = (place) => COLOURS[theme()][place % 4];
    const smoothing = this.options.weight > 0;
    const line = (name, place, faint) => ({
      label: faint ? `${name} (raw)` : labelOf(name),
      class: faint ? "raw" : undefined,
      stroke: colour(place) + (faint ? "55" : ""),
      width: faint ? 1 : 2,
      dash: DASHES[Math.floor(place / 4) % 4].length ? DASHES[Math.floor(place / 4) % 4] : DASHES[place % 4],
      points: { show: !faint && this.points.steps.length < 3 },
      value: (_, value) => (value === null ? "–" : Number(value).toPrecision(4)),
    });
    const series = names.map((name, place) => line(name, place, smoothing));
    const over = smoothing ? names.map((name, place) => line(name, place, false)) : [];
    this.plot = new uPlot(
      {
        width: this.width,
        height: HEIGHT,
        scales: { x: { time: false }, y: { distr: this.options.log ? 3 : 1 } },
        axes: [axis, { ...axis, size: 64, values: (_, ticks) => ticks.map((tick) => tick === null ? "" : Number(tick.toPrecision(4))) }],
        series: [{ label: "step" }, ...series, ...over],
        cursor: { sync: { key: "job" } },
      },
      this.data(),
      this.box,
    );
    for (const row of this.box.querySelectorAll(".u-legend .raw")) row.hidden = true;
  }
  fillTable(names) {
    const body = this.figure.querySelector("[data-values]");
    if (!body?.closest("details").open) return;
    const cell = (tag, text) => Object.assign(document.createElement(tag), { textContent: text });
    const row = (cells) => {
      const tr = document.createElement("tr");
      tr.append(...cells);
      return tr;
    };
    const columns = names.map((name) => this.points.column(name));
    body.replaceChildren(
      row(["step", ...names].map((name) => cell("th", name))),
      ...this.points.steps.map((step, place) => row([step, ...columns.map((c) => c[place] ?? "")].map((v) => cell("td", v)))),
    );
  }
  saveCsv() {
    const columns = this.names.map((name) => this.points.column(name));
    const lines = [["step", ...this.names], ...this.points.steps.map((step, place) => [step, ...columns.map((c) => c[place] ?? "")])];
    save(new Blob([lines.map((line) => line.join(",")).join("\n")], { type: "text/csv" }), `${this.figure.dataset.title}.csv`);
  }
  savePng() {
    this.box.querySelector("canvas").toBlob((blob) => save(blob, `${this.figure.dataset.title}.png`));
  }
}

function save(blob, name) {
  const link = Object.assign(document.createElement("a"), { href: URL.createObjectURL(blob), download: name });
  link.click();
  URL.revokeObjectURL(link.href);
}

function readOptions() {
  const query = new URLSearchParams(location.search);
  return { weight: Number(query.get("smooth") ?? 0), log: query.get("log") === "1" };
}

function writeOptions({ weight, log }) {
  const url = new URL(location);
  weight > 0 ? url.searchParams.set("smooth", weight) : url.searchParams.delete("smooth");
  log ? url.searchParams.set("log", "1") : url.searchParams.delete("log");
  history.replaceState(null, "", url);
}

async function start(root) {
  const points = new Points();
  const options = readOptions();
  const charts = [...root.querySelectorAll("[data-chart]")].map((figure) => new Chart(figure, points, options));
  const drawAll = () => {
    charts.forEach((chart) => chart.draw());
    for (const part of root.querySelectorAll("[data-points]")) {
      part.hidden = (part.dataset.points === "some") === (points.steps.length === 0);
    }
  };
  const slider = root.querySelector("[data-smoothing]");
  const log = root.querySelector("[data-log]");
  if (slider) slider.value = options.weight;
  if (log) log.checked = options.log;
  const changed = () => {
    options.weight = Number(slider?.value ?? 0);
    options.log = log?.checked ?? false;
    writeOptions(options);
    drawAll();
  };
  slider?.addEventListener("input", changed);
  log?.addEventListener("change", changed);
  root.addEventListener("toggle", drawAll, true);
  document.body.addEventListener("theme", drawAll);
  document.body.addEventListener("live:metrics", ({ detail }) => {
    for (const { step, values } of detail.points) points.set(step, values);
    drawAll();
  });
  document.body.addEventListener("live:rewind", ({ detail }) => {
    points.rewind(detail.step);
    drawAll();
  });
  const live = [];
  const keep = ({ detail }) => live.push(...detail.points);
  document.body.addEventListener("live:metrics", keep);
  points.load(await (await fetch(root.dataset.metricsUrl)).json());
  document.body.removeEventListener("live:metrics", keep);
  for (const { step, values } of live) points.set(step, values); // news of the meantime is newer
  drawAll();
}

document.querySelectorAll("[data-metrics-url]").forEach(start);
