// What is drawn around the lines of a chart: bands, raw curves, gaps, marks and labels at the ends of lines.
import { placeTexts, spread, valuesInside } from "./chart-data.js";

const FONT = 12;
const LABEL_SPACE = 14;
// The texts of marks: rows, their height, and what is left free beside a text.
const MARK_ROWS = 3;
const MARK_ROW = 15;
const MARK_GAP = 4;

// Calls back for each run of consecutive points for which `isDrawn` holds, with its first and its last index.
function runs(length, isDrawn, callback) {
  let start = -1;
  for (let index = 0; index <= length; index += 1) {
    const drawn = index < length && isDrawn(index);
    if (drawn && start < 0) start = index;
    if (!drawn && start >= 0) {
      callback(start, index - 1);
      start = -1;
    }
  }
}

function clipped(u, draw) {
  const { ctx, bbox } = u;
  ctx.save();
  ctx.beginPath();
  ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
  ctx.clip();
  draw(ctx);
  ctx.restore();
}

const position = (u) => ({
  x: (value) => u.valToPos(value, "x", true),
  y: (value) => u.valToPos(value, "y", true),
});

// Beneath the lines: bands from minimum to maximum, raw curves of smoothed lines, vertical marks.
export function drawBeneath(u, lines, looks, marks, colours) {
  const at = position(u);
  const ratio = devicePixelRatio;
  clipped(u, (ctx) => {
    lines.forEach((one, number) => {
      ctx.fillStyle = ctx.strokeStyle = looks[number].stroke;
      if (one.low && one.high) {
        ctx.globalAlpha = 0.14;
        runs(one.x.length, (index) => one.low[index] !== null && one.high[index] !== null, (first, last) => {
          ctx.beginPath();
          for (let index = first; index <= last; index += 1) ctx.lineTo(at.x(one.x[index]), at.y(one.high[index]));
          for (let index = last; index >= first; index -= 1) ctx.lineTo(at.x(one.x[index]), at.y(one.low[index]));
          ctx.fill();
        });
      }
      if (one.raw) {
        ctx.globalAlpha = 0.35;
        ctx.lineWidth = ratio;
        runs(one.x.length, (index) => one.raw[index] !== null, (first, last) => {
          ctx.beginPath();
          for (let index = first; index <= last; index += 1) ctx.lineTo(at.x(one.x[index]), at.y(one.raw[index]));
          ctx.stroke();
        });
      }
      // Where values are missing, a thin line joins what is on both sides.
      ctx.globalAlpha = 0.6;
      ctx.lineWidth = ratio;
      let previous = -1;
      runs(one.x.length, (index) => one.y[index] !== null, (first, last) => {
        if (previous >= 0) {
          ctx.beginPath();
          ctx.moveTo(at.x(one.x[previous]), at.y(one.y[previous]));
          ctx.lineTo(at.x(one.x[first]), at.y(one.y[first]));
          ctx.stroke();
        }
        previous = last;
      });
    });
    ctx.globalAlpha = 1;
    ctx.strokeStyle = colours.dim;
    ctx.lineWidth = ratio;
    ctx.setLineDash([3 * ratio, 3 * ratio]);
    for (const mark of marks) {
      ctx.beginPath();
      ctx.moveTo(at.x(mark.x), u.bbox.top);
      ctx.lineTo(at.x(mark.x), u.bbox.top + u.bbox.height);
      ctx.stroke();
    }
    ctx.setLineDash([]);
  });
}

// Above the lines: the texts of marks, and a label at the end of each line.
export function drawAbove(u, lines, looks, marks, colours) {
  const { ctx, bbox } = u;
  const at = position(u);
  const ratio = devicePixelRatio;
  ctx.save();
  ctx.font = `${FONT * ratio}px ${colours.font}`;
  ctx.textBaseline = "middle";
  ctx.textAlign = "left";
  drawMarkTexts(u, lines, marks, colours);
  const ends = lines.map((one) => {
    const { min, max } = u.scales.x;
    for (let index = one.x.length - 1; index >= 0; index -= 1) {
      if (one.x[index] <= max && one.y[index] !== null) {
        if (one.x[index] < min) return null;
        return Math.min(bbox.height, Math.max(0, at.y(one.y[index]) - bbox.top)) / ratio;
      }
    }
    return null;
  });
  const right = bbox.left + bbox.width;
  spread(ends, bbox.height / ratio, LABEL_SPACE).forEach((place, number) => {
    if (place === null) return;
    const y = bbox.top + place * ratio;
    const look = looks[number];
    ctx.strokeStyle = look.stroke;
    ctx.lineWidth = look.width * ratio;
    ctx.setLineDash(look.dash.map((length) => length * ratio));
    ctx.beginPath();
    ctx.moveTo(right + 6 * ratio, y);
    ctx.lineTo(right + 20 * ratio, y);
    ctx.stroke();
    ctx.setLineDash([]);
    ctx.fillStyle = colours.text;
    ctx.fillText(shortened(ctx, lines[number].line.label, 78 * ratio), right + 24 * ratio, y);
  });
  ctx.restore();
}

function drawMarkTexts(u, lines, marks, colours) {
  if (!marks.length) return;
  const { ctx, bbox } = u;
  const ratio = devicePixelRatio;
  const at = position(u);
  const texts = marks.map((mark) => ({ x: at.x(mark.x) - bbox.left, width: ctx.measureText(mark.text).width }));
  const places = placeTexts(texts, bbox.width, { rows: MARK_ROWS, gap: MARK_GAP * ratio });
  const isAtTop = isTopEmptier(u, lines);
  places.forEach((place, number) => {
    if (!place) return;
    const left = bbox.left + place.left;
    const offset = MARK_ROW * place.row * ratio;
    const top = bbox.top + (isAtTop ? offset : bbox.height - offset - MARK_ROW * ratio);
    // Readable above lines and bands.
    ctx.fillStyle = colours.background;
    ctx.fillRect(left - 2 * ratio, top, texts[number].width + 4 * ratio, MARK_ROW * ratio);
    ctx.fillStyle = colours.dim;
    ctx.fillText(marks[number].text, left, top + (MARK_ROW / 2) * ratio);
  });
}

// Whether texts at the top of the plot cover less of the lines than at its bottom.
function isTopEmptier(u, lines) {
  const values = valuesInside(lines, u.scales.x.min, u.scales.x.max);
  const height = u.bbox.height / devicePixelRatio;
  const upper = u.posToVal(MARK_ROWS * MARK_ROW, "y");
  const lower = u.posToVal(height - MARK_ROWS * MARK_ROW, "y");
  return values.filter((value) => value > upper).length <= values.filter((value) => value < lower).length;
}

// A text that fits a width, with an ellipsis if it had to be cut.
function shortened(ctx, text, width) {
  let end = Math.min(text.length, 60);
  if (end === text.length && ctx.measureText(text).width <= width) return text;
  while (end > 1 && ctx.measureText(`${text.slice(0, end)}…`).width > width) end -= 1;
  return `${text.slice(0, end)}…`;
}
