// Curves with bands: {x, x_label, y_label, series: [{name, mean, low, high}]}, and if need be ticks: [x] and
// marks: [{x, label}]; the table below has every value.
import uPlot from "uplot";
import { readTheme } from "./charts/ink.js";

const HEIGHT = 260;
const INK = {
  light: { text: "#565d63", grid: "#e6e6e0", lines: ["#b4530a", "#0d5c63"] },
  dark: { text: "#a3abb2", grid: "#2b3036", lines: ["#f0a35c", "#6fc7cd"] },
};
const DASHES = [[6, 4], []];

// Upright lines with their names, one below the other so that neighbours stay legible.
function drawMarks(plot, marks, ink) {
  const { ctx, bbox } = plot, dot = devicePixelRatio;
  ctx.save();
  ctx.font = `${12 * dot}px system-ui, sans-serif`;
  ctx.strokeStyle = ctx.fillStyle = ink.text;
  ctx.lineWidth = dot;
  ctx.setLineDash([2 * dot, 3 * dot]);
  marks.forEach(({ x, label }, index) => {
    const at = plot.valToPos(x, "x", true);
    ctx.beginPath();
    ctx.moveTo(at, bbox.top);
    ctx.lineTo(at, bbox.top + bbox.height);
    ctx.stroke();
    const left = at > bbox.left + 0.6 * bbox.width;
    ctx.textAlign = left ? "right" : "left";
    ctx.fillText(label, at + (left ? -5 : 5) * dot, bbox.top + bbox.height - (8 + 16 * index) * dot);
  });
  ctx.restore();
}

function drawFigure(figure) {
  const curves = JSON.parse(figure.dataset.curves);
  const box = figure.querySelector("[data-plot]");
  let plot = null;
  const createPlot = () => {
    plot?.destroy();
    const ink = INK[readTheme()];
    const buildAxis = (label) => ({
      label, stroke: ink.text, grid: { stroke: ink.grid, width: 1 }, ticks: { stroke: ink.grid, width: 1 },
    });
    const columns = [curves.x];
    const series = [{ label: curves.x_label }];
    const bands = [];
    curves.series.forEach(({ name, mean, low, high }, index) => {
      // One curve alone takes the tuned model's colour, two are base and tuned.
      const look = curves.series.length === 1 ? 1 : index;
      const colour = ink.lines[look];
      const edge = { stroke: "transparent", points: { show: false } };
      columns.push(high, low, mean);
      series.push({ label: `${name}, high`, ...edge }, { label: `${name}, low`, ...edge });
      series.push({ label: name, stroke: colour, width: 2, dash: DASHES[look], points: { show: true, size: 5 } });
      bands.push({ series: [3 * index + 1, 3 * index + 2], fill: `${colour}2e` });
    });
    plot = new uPlot(
      {
        width: Math.max(box.clientWidth, 200),
        height: HEIGHT,
        scales: { x: { time: false, distr: 3, log: 2 }, y: { range: [0, 1] } },
        axes: [
          { ...buildAxis(curves.x_label), splits: () => curves.ticks ?? curves.x, values: (_, ticks) => ticks },
          { ...buildAxis(curves.y_label), size: 56 },
        ],
        series,
        bands,
        legend: { show: false },
        hooks: { draw: [(drawn) => drawMarks(drawn, curves.marks ?? [], ink)] },
      },
      columns,
      box,
    );
  };
  figure.hidden = false;
  createPlot();
  document.body.addEventListener("theme", createPlot);
  new ResizeObserver(() => plot.setSize({ width: Math.max(box.clientWidth, 200), height: HEIGHT })).observe(box);
}

document.querySelectorAll("[data-curves]").forEach(drawFigure);
