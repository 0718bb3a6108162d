// Charts of one job or of several: uPlot figures that share a toolbar, a crosshair and the points.
// `data-sources` names the jobs: [{name, url, baseline}]; the first is the page's own and may be live.
import "uplot/dist/uPlot.min.css";
import { Chart } from "./charts/chart.js";
import { Options } from "./charts/options.js";
import { Points } from "./charts/points.js";

const RELOAD_MS = 300;

async function loadPoints({ points, url }, weight) {
  const query = points.thinned && weight > 0 ? `?smooth=${weight}` : "";
  points.load(await (await fetch(url + query)).json(), weight);
}

// News that comes while the points are on their way is newer than they are, and waits for them.
function followLiveEvents(points, draw) {
  let waiting = null;
  const applyChange = (change) => {
    if (waiting) return void waiting.push(change);
    change();
    draw();
  };
  const listen = (kind, change) => document.body.addEventListener(`live:${kind}`, ({ detail }) => applyChange(() => change(detail)));
  listen("metrics", ({ points: news }) => news.forEach(({ step, values }) => points.add(step, values)));
  listen("rewind", ({ step }) => points.rewind(step));
  listen("evaluation", ({ step, validation }) => {
    if (validation !== undefined) points.add(step, { "validation/reward": validation });
  });
  return async (loading) => {
    waiting = [];
    await loading();
    waiting.forEach((change) => change());
    waiting = null;
    draw();
  };
}

async function startCharts(root) {
  const sources = JSON.parse(root.dataset.sources).map((source) => ({ ...source, points: new Points() }));
  const own = sources[0].points;
  let weight = 0;
  let reload = 0;
  const drawCharts = () => {
    charts.forEach((chart) => chart.draw());
    for (const part of root.querySelectorAll("[data-points]")) {
      part.hidden = (part.dataset.points === "some") === sources.every(({ points }) => points.steps.length === 0);
    }
  };
  const holdEventsWhile = followLiveEvents(own, drawCharts);
  const loadAll = () => holdEventsWhile(() => Promise.all(sources.map((source) => loadPoints(source, options.weight))));
  // Many steps reach the browser thinned, so the server smooths them, over all of them.
  const applyOptions = () => {
    drawCharts();
    if (options.weight === weight || !sources.some(({ points }) => points.thinned)) return;
    weight = options.weight;
    clearTimeout(reload);
    reload = setTimeout(loadAll, RELOAD_MS);
  };
  const options = new Options(root.querySelector("form[data-chart-toolbar]"), applyOptions);
  const charts = [...root.querySelectorAll("[data-chart]")].map((figure) => new Chart(figure, sources, options));
  document.body.addEventListener("theme", drawCharts);
  root.querySelector("[data-zoom-reset]")?.addEventListener("click", () => options.zoom(null, null));
  await loadAll();
  applyOptions();
}

document.querySelectorAll("[data-sources]").forEach(startCharts);
