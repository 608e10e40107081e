// Data of charts between the answer of `GET /series` and what is drawn; nothing here touches the page.
import { LEAD_IN, isSmoothed, smooth } from "./smooth.js";
import { isZoomed } from "./chart-state.js";

// Where the points of a line are on the x axis; strictly increasing.
export function xValues(series, job, mode) {
  if (mode === "epoch" && job.epoch) return series.steps.map((step) => step / job.epoch);
  if (mode !== "training" && mode !== "wall") return series.steps;
  let previous = -Infinity;
  return series.times.map((time) => {
    const x = mode === "wall" ? time : trainingTime(job.spans, time);
    previous = Math.max(x, previous + 0.001);
    return previous;
  });
}

// Seconds that the attempts of a job ran until a moment: the time between them is left out.
export function trainingTime(spans, time) {
  return spans.reduce((sum, [start, end]) => sum + Math.max(0, Math.min(time, end ?? Infinity) - start), 0);
}

// The steps to ask for so that lines reach beyond both edges of the view, with the lead-in of smoothing.
export function stepRange(state, jobs, loaded) {
  if (!isZoomed(state)) return null;
  let [from, to] = [Infinity, -Infinity];
  for (const { job, series } of loaded(jobs)) {
    const [low, high] = stepsBetween(state, job, series);
    from = Math.min(from, low);
    to = Math.max(to, high);
  }
  if (from > to) return null;
  const margin = Math.max(1, (to - from) * 0.05);
  const lead = margin + LEAD_IN * state.smooth;
  const range = { from: Math.max(0, Math.floor(from - lead)), to: Math.ceil(to + margin) };
  return { ...range, stretch: (range.to - range.from) / Math.max(1, to - from) };
}

function stepsBetween(state, job, series) {
  if (state.x === "step" || (state.x === "epoch" && !job.epoch)) return [state.from, state.to];
  if (state.x === "epoch") return [state.from * job.epoch, state.to * job.epoch];
  if (!series?.steps.length) return [Infinity, -Infinity];
  const x = xValues(series, job, state.x);
  const first = Math.max(0, x.findIndex((value) => value >= state.from) - 1);
  const after = x.findIndex((value) => value > state.to);
  return [series.steps[first], series.steps[after < 0 ? x.length - 1 : after]];
}

// A line as it is drawn: positions, the curve, the raw curve beneath if it is smoothed, the band, and what is left out.
export function drawnLine(line, series, job, state) {
  const x = xValues(series, job, state.x);
  const numPoints = Math.max(line.count, series.counts ? sum(series.counts) : series.steps.length);
  const smoothed = isSmoothed(numPoints, state.smooth);
  const curve = smoothed ? smooth(series.steps, series.mean, series.counts, state.smooth) : series.mean;
  const drawable = (value) => (state.y === "log" && !(value > 0) ? null : value);
  let hidden = 0;
  for (const value of series.mean) if (value !== null && drawable(value) === null) hidden += 1;
  return {
    line,
    x,
    steps: series.steps,
    y: curve.map(drawable),
    raw: smoothed ? series.mean.map(drawable) : null,
    low: series.min?.map(drawable) ?? null,
    high: series.max?.map(drawable) ?? null,
    isPoints: !series.counts,
    hidden,
  };
}

const sum = (values) => values.reduce((total, value) => total + value, 0);

// The y values inside the view, to choose its range from.
export function valuesInside(lines, low, high) {
  const values = [];
  for (const one of lines) {
    one.x.forEach((x, index) => {
      if (x < low || x > high) return;
      for (const array of [one.y, one.raw, one.low, one.high]) {
        const value = array?.[index];
        if (value !== null && value !== undefined) values.push(value);
      }
    });
  }
  return values;
}

// The range of y: all values, or with `focus` those from the 2nd to the 98th percentile and how many lie outside.
// A constant share, which is from 0 to 1, has the whole axis.
export function yRange(values, { focus, isLog, isShare }) {
  if (!values.length) return { low: isLog ? 0.1 : 0, high: 1, above: 0, below: 0 };
  const sorted = Float64Array.from(values).sort();
  const at = (share) => sorted[Math.round(share * (sorted.length - 1))];
  let [low, high] = focus ? [at(0.02), at(0.98)] : [sorted[0], sorted[sorted.length - 1]];
  const above = values.filter((value) => value > high).length;
  const below = values.filter((value) => value < low).length;
  if (isLog) {
    // Ticks of a logarithmic axis are counted from its lower end, which therefore is a round number.
    const power = 10 ** Math.floor(Math.log10(low));
    return { low: Math.floor(low / power) * power, high: high * 1.15, above, below };
  }
  if (isShare && low === high && low >= 0 && high <= 1) return { low: 0, high: 1, above, below };
  const margin = (high - low) * 0.06 || Math.abs(high) * 0.05 || 1;
  // An axis of values that are never negative does not begin below zero.
  const floor = low >= 0 ? 0 : -Infinity;
  return { low: Math.max(floor, low - margin), high: high + margin, above, below };
}

// The point of a line nearest to x; null beyond its ends.
export function nearest(one, x, tolerance) {
  const { x: all } = one;
  if (!all.length || x < all[0] - tolerance || x > all[all.length - 1] + tolerance) return null;
  let [low, high] = [0, all.length - 1];
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (all[middle] < x) low = middle;
    else high = middle;
  }
  return x - all[low] <= all[high] - x ? low : high;
}

// Points that came after those that are there.
export function appended(series, more) {
  const last = series.steps.at(-1) ?? -1;
  const start = more.steps.findIndex((step) => step > last);
  if (start < 0) return series;
  const ones = (list) => list ?? null;
  const join = (name) => [...series[name], ...more[name].slice(start)];
  const filled = (data, name) => ones(data[name]) ?? (name === "counts" ? data.steps.map(() => 1) : data.mean);
  const isRaw = !series.counts && !more.counts;
  const joined = { steps: join("steps"), times: join("times"), mean: join("mean"), last: join("last") };
  for (const name of ["counts", "min", "max"]) {
    joined[name] = isRaw ? null : [...filled(series, name), ...filled(more, name).slice(start)];
  }
  return { ...series, ...joined };
}

// Positions of labels that do not overlap, near the wanted ones; null where there is no room.
export function spread(wanted, height, space) {
  const order = wanted.map((y, index) => [y, index]).filter(([y]) => y !== null).sort((a, b) => a[0] - b[0]);
  const fitting = order.slice(0, Math.max(1, Math.floor(height / space)));
  const placed = wanted.map(() => null);
  let previous = -Infinity;
  for (const entry of fitting) entry[0] = previous = Math.max(entry[0], previous + space);
  let limit = height;
  for (const entry of fitting.toReversed()) {
    entry[0] = Math.min(entry[0], limit);
    limit = entry[0] - space;
    placed[entry[1]] = entry[0];
  }
  return placed;
}

// Where the texts of vertical marks stand in a plot of a width: `marks` have their `x` and the `width` of their text.
// A text is right of its mark, or left of it where there is no room. One that would overlap an earlier one moves to the
// next row. null where no row has room, and for a mark outside the plot.
export function placeTexts(marks, width, { rows, gap }) {
  const taken = Array.from({ length: rows }, () => []);
  return marks.map((mark) => {
    if (mark.x < 0 || mark.x > width || mark.width > width) return null;
    const isRight = mark.x + mark.width + gap <= width;
    const left = isRight ? mark.x + gap : Math.max(0, mark.x - mark.width - gap);
    const right = left + mark.width;
    const row = taken.findIndex((texts) => texts.every((text) => right + gap <= text.left || text.right + gap <= left));
    if (row < 0) return null;
    taken[row].push({ left, right });
    return { left, row };
  });
}

export function numberText(value) {
  if (value === null || value === undefined) return "–";
  const size = Math.abs(value);
  if (Number.isInteger(value) && size < 1e15) return String(value).replace(/\B(?=(\d{3})+(?!\d))/g, "\u202f");
  return size >= 1e6 || size < 1e-4 ? value.toExponential(2) : String(Number(value.toPrecision(4)));
}

export function durationText(seconds) {
  if (seconds < 60) return `${Number(seconds.toFixed(seconds < 10 ? 1 : 0))} s`;
  if (seconds < 3600) return `${Number((seconds / 60).toFixed(1))} min`;
  return seconds < 86400 ? `${Number((seconds / 3600).toFixed(1))} h` : `${Number((seconds / 86400).toFixed(1))} d`;
}

export function xText(x, mode) {
  if (mode === "training") return `${durationText(x)} of training`;
  if (mode === "wall") return new Date(x * 1000).toLocaleString();
  return `${mode} ${numberText(mode === "epoch" ? Number(x.toFixed(2)) : Math.round(x))}`;
}
