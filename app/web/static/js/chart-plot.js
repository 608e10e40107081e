// The only file that knows uPlot. A plot shows the lines that it is given and reports what a person does on it.
import { drawAbove, drawBeneath } from "./chart-draw.js";
import { durationText, valuesInside, yRange } from "./chart-data.js";
import { clockText, tickText } from "./chart-look.js";

const HEIGHT = 220;
const PADDING = [10, 104, 0, 0];
const AXIS_LEFT = 52;
const AXIS_BOTTOM = 26;
const WHEEL_STEP = 1.25;

// `actions`: zoom(from, to), preview(from, to), reset(), cursor(x or null).
export class Plot {
  constructor(element, view, actions) {
    this.element = element;
    this.actions = actions;
    this.view = view;
    this.outside = { above: 0, below: 0 };
    this.uplot = new window.uPlot(this.#options(), this.#table(), element);
    this.uplot.over.addEventListener("wheel", (event) => this.#wheel(event), { passive: false });
  }

  // `view`: lines, looks, marks, colours, state, range ([from, to] or null), isShare.
  update(view) {
    this.view = view;
    this.uplot.setData(this.#table(), true);
  }

  resize(width) {
    if (width > 0 && Math.abs(width - this.uplot.width) >= 1) this.uplot.setSize({ width, height: HEIGHT });
  }

  destroy() {
    this.uplot.destroy();
  }

  // Puts the cross-hair at x without telling the other charts.
  showCursor(x) {
    const left = x === null ? -10 : this.uplot.valToPos(x, "x");
    this.uplot.setCursor({ left, top: x === null ? -10 : this.uplot.height / 3 }, false);
  }

  xs() {
    return this.uplot.data[0];
  }

  xRange() {
    const { min, max } = this.uplot.scales.x;
    return [min, max];
  }

  #table() {
    const tables = this.view.lines.map((one) => {
      const positive = (x) => !this.view.state.logx || x > 0;
      return [one.x.filter(positive), one.y.filter((_, index) => positive(one.x[index]))];
    });
    return tables.length ? window.uPlot.join(tables) : [[]];
  }

  #options() {
    const { state, colours, looks, lines } = this.view;
    const isTime = state.x === "wall";
    const axis = { stroke: colours.dim, font: `12px ${colours.font}`, ticks: { show: false } };
    const grid = { stroke: colours.line, width: 1 };
    const series = lines.map((one, number) => ({
      label: one.line.label,
      stroke: looks[number].stroke,
      width: looks[number].width,
      dash: looks[number].dash,
      points: { show: (u, index) => this.#showsPoints(index - 1), size: 5, fill: looks[number].stroke },
    }));
    return {
      width: Math.max(100, this.element.clientWidth),
      height: HEIGHT,
      padding: PADDING,
      legend: { show: false },
      scales: {
        x: { time: isTime, distr: state.logx && !isTime ? 3 : 1, range: (_, low, high) => this.#xRange(low, high) },
        y: { distr: state.y === "log" ? 3 : 1, range: () => this.#yRange() },
      },
      axes: [
        { ...axis, grid: { show: false }, size: AXIS_BOTTOM, gap: 4, space: 50, ...this.#xLabels() },
        { ...axis, grid, size: AXIS_LEFT, gap: 4, space: 34, values: (_, ticks) => ticks.map((tick) => this.#yText(tick)) },
      ],
      series: [{}, ...series],
      cursor: {
        y: false,
        drag: { x: true, y: false, setScale: false, dist: 5 },
        points: { size: 7, width: 0 },
        bind: {
          mousedown: (_u, _target, handle) => (event) => (event.shiftKey ? this.#pan(event) : handle(event)),
          dblclick: () => () => this.actions.reset(),
        },
      },
      hooks: {
        drawAxes: [(u) => drawBeneath(u, this.view.lines, this.view.looks, this.view.marks, this.view.colours)],
        draw: [(u) => drawAbove(u, this.view.lines, this.view.looks, this.view.marks, this.view.colours)],
        setSelect: [(u) => this.#select(u)],
        setCursor: [(u) => this.actions.cursor(u.cursor.left < 0 ? null : u.posToVal(u.cursor.left, "x"))],
      },
    };
  }

  // The room above a share of 1 has no value that could be reached.
  #yText(tick) {
    return this.view.isShare && tick > 1 ? "" : tickText(tick);
  }

  #xLabels() {
    if (this.view.state.x === "wall") {
      const long = (ticks) => ticks.at(-1) - ticks[0] > 86_400;
      return { space: 80, values: (_, ticks) => ticks.map((tick) => clockText(tick, long(ticks))) };
    }
    const text = this.view.state.x === "training" ? (value) => (value === null ? "" : durationText(value)) : tickText;
    return { values: (_, ticks) => ticks.map(text) };
  }

  #xRange(low, high) {
    if (this.view.range) return this.view.range;
    if (low === null) return [0, 1];
    return low < high ? [low, high] : [low - (Math.abs(low) * 0.05 || 1), high + (Math.abs(high) * 0.05 || 1)];
  }

  #yRange() {
    const all = this.view.lines.flatMap((one) => (one.x.length ? [one.x[0], one.x[one.x.length - 1]] : []));
    const [low, high] = this.view.range ?? [Math.min(...all), Math.max(...all)];
    const { focus, y } = this.view.state;
    const range = yRange(valuesInside(this.view.lines, low, high), { focus, isLog: y === "log", isShare: this.view.isShare });
    this.outside = range;
    return [range.low, range.high];
  }

  // Dots where each bucket is one point and there is room for them; a single point is always a dot.
  #showsPoints(number) {
    const one = this.view.lines[number];
    if (!one) return false;
    return one.x.length === 1 || (one.isPoints && one.x.length <= this.uplot.width / 12);
  }

  #select(u) {
    const { left, width } = u.select;
    if (width > 4) this.actions.zoom(u.posToVal(left, "x"), u.posToVal(left + width, "x"));
    u.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
  }

  #pan(event) {
    const u = this.uplot;
    const [from, to] = this.xRange();
    const startX = event.clientX;
    const moved = (now) => {
      const origin = u.valToPos(from, "x") - (now.clientX - startX);
      const begin = u.posToVal(origin, "x");
      return [begin, u.posToVal(origin + u.over.clientWidth, "x")];
    };
    // Both ends are read on the scale of the start, so that the pointer keeps its value.
    const toRange = (now) => {
      const shift = ((startX - now.clientX) / u.over.clientWidth) * (to - from);
      return this.view.state.logx ? moved(now) : [from + shift, to + shift];
    };
    const onMove = (now) => this.actions.preview(...toRange(now));
    const onUp = (now) => {
      document.removeEventListener("mousemove", onMove);
      if (now.clientX !== startX) this.actions.zoom(...toRange(now));
    };
    document.addEventListener("mousemove", onMove);
    document.addEventListener("mouseup", onUp, { once: true });
    return null;
  }

  #wheel(event) {
    if (!event.altKey) return;
    event.preventDefault();
    const centre = this.uplot.posToVal(event.offsetX, "x");
    this.zoomBy(event.deltaY < 0 ? 1 / WHEEL_STEP : WHEEL_STEP, centre);
  }

  // Zooms by a factor around a value, or around the middle.
  zoomBy(factor, around) {
    const [from, to] = this.xRange();
    const centre = around ?? (from + to) / 2;
    this.actions.preview(centre - (centre - from) * factor, centre + (to - centre) * factor);
    this.actions.settle();
  }
}
