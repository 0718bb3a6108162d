// The plane of gain against retention: a point a checkpoint, in order of training, coloured by its KL.
import uPlot from "uplot";
import { readTheme } from "./charts/ink.js";

const HEIGHT = 340;
const RADIUS = 6;
const INK = {
  light: { text: "#565d63", grid: "#e6e6e0", line: "#a3abb2", edge: "#23282c", least: [214, 236, 238], most: [6, 58, 64] },
  dark: { text: "#a3abb2", grid: "#2b3036", line: "#565d63", edge: "#e6e6e0", least: [30, 62, 66], most: [167, 233, 238] },
};

function findRange(values) {
  const low = Math.min(0, ...values), high = Math.max(0, ...values);
  const room = Math.max((high - low) * 0.15, 0.02);
  return [low - room, high + room];
}

function mixColour({ least, most }, share) {
  return `rgb(${least.map((from, index) => Math.round(from + share * (most[index] - from))).join(" ")})`;
}

// Path, points and labels, in the canvas's own pixels.
function paintPoints(plot, points, ink) {
  const { ctx } = plot, dot = devicePixelRatio;
  const greatest = Math.max(...points.map(({ kl }) => kl ?? 0)) || 1;
  const findPixel = ({ gain, kept }) => [plot.valToPos(gain, "x", true), plot.valToPos(kept, "y", true)];
  ctx.save();
  ctx.lineWidth = dot;
  ctx.strokeStyle = ink.line;
  ctx.beginPath();
  const path = points.filter(({ final }) => !final); // the last one is measured on other rows
  path.forEach((point, index) => ctx[index ? "lineTo" : "moveTo"](...findPixel(point)));
  ctx.stroke();
  ctx.font = `${12 * dot}px system-ui, sans-serif`;
  for (const point of points) {
    const [x, y] = findPixel(point);
    ctx.beginPath();
    ctx.arc(x, y, (point.final ? RADIUS + 2 : RADIUS) * dot, 0, 2 * Math.PI);
    ctx.fillStyle = mixColour(ink, Math.max(point.kl ?? 0, 0) / greatest);
    ctx.fill();
    ctx.strokeStyle = ink.edge;
    ctx.stroke();
    const left = x > plot.bbox.left + 0.8 * plot.bbox.width;
    ctx.textAlign = left ? "right" : "left";
    ctx.fillStyle = ink.text;
    ctx.fillText(point.label, x + (left ? -1 : 1) * 11 * dot, y + (point.label === "base" ? 16 : -6) * dot);
  }
  ctx.restore();
}

function drawFigure(figure) {
  const points = JSON.parse(figure.dataset.plane);
  const box = figure.querySelector("[data-plot]");
  const sorted = [...points].sort((a, b) => a.gain - b.gain);
  let plot = null;
  const createPlot = () => {
    plot?.destroy();
    const ink = INK[readTheme()];
    const buildAxis = (label) => ({
      label, stroke: ink.text, grid: { stroke: ink.grid, width: 1 }, ticks: { stroke: ink.grid, width: 1 },
      values: (_, ticks) => ticks.map((tick) => Number(tick.toPrecision(3))),
    });
    plot = new uPlot(
      {
        width: Math.max(box.clientWidth, 200),
        height: HEIGHT,
        scales: { x: { time: false, range: findRange(points.map((p) => p.gain)) }, y: { range: findRange(points.map((p) => p.kept)) } },
        axes: [buildAxis("gain"), { ...buildAxis("retention"), size: 64 }],
        series: [{}, { paths: () => null, points: { show: false } }],
        cursor: { show: false },
        legend: { show: false },
        hooks: { draw: [(drawn) => paintPoints(drawn, points, ink)] },
      },
      [sorted.map((p) => p.gain), sorted.map((p) => p.kept)],
      box,
    );
  };
  figure.hidden = false;
  createPlot();
  document.body.addEventListener("theme", createPlot);
  new ResizeObserver(() => plot.setSize({ width: Math.max(box.clientWidth, 200), height: HEIGHT })).observe(box);
}

document.querySelectorAll("[data-plane]").forEach(drawFigure);
