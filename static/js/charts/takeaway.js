// What one takes away from a chart: its values for a sheet, its picture with title and legend.
const PAD = 16;
const LINE = 20;
const SWATCH = 24;

export const formatAsTsv = (rows) => rows.map((row) => row.join("\t")).join("\n");

// The plot on its ground, under its title, over its unit and the names of its lines.
export function drawPicture(plot, title, unit, legend, paper) {
  const dot = devicePixelRatio;
  const canvas = document.createElement("canvas");
  canvas.width = plot.width + 2 * PAD * dot;
  canvas.height = plot.height + (3 * PAD + LINE * (2 + legend.length)) * dot;
  const ink = canvas.getContext("2d");
  ink.fillStyle = paper.ground;
  ink.fillRect(0, 0, canvas.width, canvas.height);
  const writeText = (text, x, y, font) => {
    ink.font = font;
    ink.fillText(text, x * dot, y * dot);
  };
  ink.fillStyle = paper.text;
  ink.textBaseline = "top";
  writeText(title, PAD, PAD, `600 ${15 * dot}px system-ui, sans-serif`);
  ink.drawImage(plot, PAD * dot, (PAD + LINE + PAD / 2) * dot);
  const plain = `${12 * dot}px system-ui, sans-serif`;
  const below = plot.height / dot + 2 * PAD + LINE;
  writeText(`X-axis: ${unit}`, PAD, below, plain);
  legend.forEach(({ label, colour, dash }, index) => {
    const y = below + LINE * (index + 1);
    ink.strokeStyle = colour;
    ink.lineWidth = 2 * dot;
    ink.setLineDash(dash.map((part) => part * dot));
    ink.beginPath();
    ink.moveTo(PAD * dot, (y + 7) * dot);
    ink.lineTo((PAD + SWATCH) * dot, (y + 7) * dot);
    ink.stroke();
    writeText(label, PAD + SWATCH + 8, y, plain);
  });
  return canvas;
}

export function saveBlob(blob, name) {
  const link = Object.assign(document.createElement("a"), { href: URL.createObjectURL(blob), download: name });
  link.click();
  URL.revokeObjectURL(link.href);
}
