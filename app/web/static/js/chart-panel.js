// One chart of the page: its data, its plot in place of the server's drawing, its notes and its errors.
import { appended, drawnLine, stepRange, xValues } from "./chart-data.js";
import { lookOf, pageColours } from "./chart-look.js";
import { Plot } from "./chart-plot.js";
import { Readout } from "./chart-readout.js";
import { isZoomed } from "./chart-state.js";

export class Panel {
  constructor(element, charts) {
    this.element = element;
    this.charts = charts;
    this.id = element.dataset.panel;
    this.config = JSON.parse(element.dataset.chart);
    this.box = element.querySelector("[data-plot]");
    this.visible = false;
    this.full = new Map();
    this.zoomed = null;
    this.loadedFor = null;
    // Whether values came that `full` does not have.
    this.missed = false;
    this.plot = null;
    this.cursorX = null;
    this.box.tabIndex = 0;
    this.box.setAttribute("role", "group");
    this.box.setAttribute("aria-roledescription", "chart");
    this.box.setAttribute("aria-label", `${this.config.title}. Arrow keys move along the curves.`);
    this.box.addEventListener("keydown", (event) => charts.onKey(event, this));
  }

  get text() {
    const { title, lines } = this.config;
    return [title, ...lines.flatMap((line) => [line.key, line.label])].join(" ").toLowerCase();
  }

  series(line) {
    return (this.zoomed ?? this.full).get(`${line.job} ${line.key}`);
  }

  // The series that are loaded, with their jobs: from them follows which steps a range of times has.
  loaded() {
    return this.config.lines.map((line) => ({
      job: this.charts.job(line.job),
      series: this.full.get(`${line.job} ${line.key}`),
    }));
  }

  // Loads what the view needs, unless it is there.
  async load(force = false) {
    const { state } = this.charts;
    const wanted = isZoomed(state) ? `${state.x} ${state.from} ${state.to} ${state.smooth}` : "full";
    const isStale = this.missed && wanted === "full";
    if (!this.visible || (!force && !isStale && this.loadedFor === wanted)) return;
    this.loadedFor = wanted;
    if (wanted === "full") this.missed = false;
    try {
      const needsFull = isZoomed(state) && (state.x === "training" || state.x === "wall") && !this.full.size;
      if (needsFull) this.full = await this.#fetch(null);
      const range = stepRange(state, this.config.lines, () => this.loaded());
      const data = await this.#fetch(range);
      if (this.loadedFor !== wanted) return;
      if (range) this.zoomed = data;
      else [this.full, this.zoomed] = [data, null];
      this.#showError(null);
      this.render();
    } catch (error) {
      if (this.loadedFor !== wanted) return;
      this.loadedFor = null;
      this.#showError(error);
    }
  }

  async #fetch(range) {
    const width = Math.max(100, this.box.clientWidth);
    const points = Math.min(2000, Math.round((width / 2) * Math.min(4, range?.stretch ?? 1)));
    const list = await this.charts.fetchSeries(this.config.lines, points, range?.from, range?.to);
    return new Map(list.map((series) => [`${series.job} ${series.key}`, series]));
  }

  // Points that came since the last ones; not while a person looks at a part.
  async extend() {
    if (!this.visible || !this.plot || isZoomed(this.charts.state)) return;
    const lasts = [...this.full.values()].map((series) => series.steps.at(-1) ?? 0);
    if (this.full.size < this.config.lines.length) return this.load(true);
    const size = Math.max(...[...this.full.values()].map((series) => series.steps.length));
    if (size > this.box.clientWidth) return this.load(true);
    try {
      const more = await this.charts.fetchSeries(this.config.lines, 500, Math.min(...lasts) + 1);
      if (isZoomed(this.charts.state)) return;
      for (const series of more) {
        const key = `${series.job} ${series.key}`;
        this.full.set(key, appended(this.full.get(key), series));
      }
      this.#showError(null);
      this.render();
    } catch (error) {
      this.#showError(error);
    }
  }

  render() {
    if (!this.visible) return;
    const view = this.#view();
    if (!view.lines.length) return;
    const shape = `${view.state.x} ${view.state.logx} ${view.state.y} ${view.lines.map((one) => one.line.key + one.line.job)}`;
    if (this.plot && this.shape === shape) this.plot.update(view);
    else {
      this.plot?.destroy();
      this.box.replaceChildren();
      this.plot = new Plot(this.box, view, this.charts.actions(this));
      this.readout = new Readout(this.box);
      this.shape = shape;
    }
    this.#showNotes(view);
    this.showCursor(this.cursorX);
  }

  #view() {
    const { state } = this.charts;
    const colours = pageColours(this.element);
    const samples = this.element.querySelectorAll(".swatch .line");
    const shown = this.config.lines
      .map((line, number) => ({ line, series: this.series(line), look: lookOf(samples[number]) }))
      .filter(({ series }) => series?.steps.length);
    const lines = shown.map(({ line, series }) => drawnLine(line, series, this.charts.job(line.job), state));
    const range = isZoomed(state) ? [state.from, state.to] : null;
    return { lines, looks: shown.map(({ look }) => look), colours, state, range, marks: this.#marks(), isShare: this.config.share };
  }

  #marks() {
    const { state } = this.charts;
    const seen = this.config.lines.map((line) => [this.charts.job(line.job), this.series(line)]).find(([, one]) => one);
    if (!seen) return [];
    const [job, series] = seen;
    return (this.config.marks ? job.marks ?? [] : []).map(([step, text]) => {
      const index = series.steps.findIndex((other) => other >= step);
      const times = [series.times[index < 0 ? series.times.length - 1 : index]];
      return { x: xValues({ steps: [step], times }, job, state.x)[0], text };
    });
  }

  #showNotes(view) {
    const { above, below } = this.plot.outside;
    const hidden = view.lines.reduce((total, one) => total + one.hidden, 0);
    const notes = [
      above && `▲ ${above} above`,
      below && `▼ ${below} below`,
      hidden && `${hidden} ${hidden === 1 ? "value" : "values"} ≤ 0 not shown`,
    ];
    this.element.querySelector("[data-notes]").textContent = notes.filter(Boolean).join(" · ");
  }

  #showError(error) {
    this.element.querySelector(".chart-error")?.remove();
    if (!error) return;
    const alert = document.createElement("div");
    alert.className = "chart-error small";
    alert.setAttribute("role", "alert");
    const retry = document.createElement("button");
    retry.className = "button";
    retry.textContent = "Retry";
    retry.addEventListener("click", () => this.load(true));
    alert.append(`Not loaded: ${error.message} `, retry);
    this.box.before(alert);
  }

  showCursor(x, isSpoken = false) {
    this.cursorX = x;
    if (!this.plot) return;
    this.plot.showCursor(x);
    const [low, high] = this.plot.xRange();
    if (x === null || x < low || x > high) return this.readout.hide();
    const view = this.plot.view;
    const share = this.plot.uplot.valToPos(x, "x") / this.plot.uplot.over.clientWidth;
    const better = this.config.comparable ? this.config.better : null;
    const tolerance = (high - low) * 0.02;
    this.readout.show({ ...view, better, mode: view.state.x, x, tolerance, share, isSpoken });
  }
}
