// The charts of a page: they share the view, which is in the address, the cross-hair and the stream of new values.
import { Panel } from "./chart-panel.js";
import { fetchSeries } from "./chart-fetch.js";
import { mergeCharts } from "./chart-merge.js";
import { isZoomed, keepInForms, readState, roundedRange, writeState } from "./chart-state.js";
import { Tools } from "./chart-tools.js";

const LIVE_MS = 2000;
const NEW_KEYS_MS = 10_000;
const SETTLE_MS = 300;

class Charts {
  constructor(root) {
    this.root = root;
    this.state = readState();
    keepInForms(this.state);
    this.fetchSeries = fetchSeries;
    this.tools = null;
    this.panels = [];
    this.liveTimer = 0;
    this.keysAt = Date.now();
    this.observer = new IntersectionObserver((entries) => this.#seen(entries), { rootMargin: "200px" });
    this.sizes = new ResizeObserver((entries) => this.#resized(entries));
    this.#adopt();
    addEventListener("popstate", () => {
      this.state = readState();
      this.refresh();
    });
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.#redraw());
    document.addEventListener("mcn:metrics", (event) => this.#onMetrics(event.detail));
    document.addEventListener("mcn:reconnected", () => {
      this.#loadPage();
      for (const panel of this.panels) panel.load(true);
    });
  }

  // Takes what the server has rendered into `root`.
  #adopt() {
    this.jobs = new Map(JSON.parse(this.root.dataset.charts).map((job) => [job.id, job]));
    const known = new Map(this.panels.map((panel) => [panel.element, panel]));
    this.panels = [...this.root.querySelectorAll("[data-chart]")].map((element) => {
      if (known.has(element)) return known.get(element);
      const panel = new Panel(element, this);
      this.observer.observe(element);
      this.sizes.observe(panel.box);
      return panel;
    });
    for (const panel of known.values()) {
      if (this.panels.includes(panel)) continue;
      this.observer.unobserve(panel.element);
      this.sizes.unobserve(panel.box);
      panel.plot?.destroy();
    }
    const tools = this.root.querySelector("[data-tools]");
    if (tools && this.tools?.element !== tools) this.tools = new Tools(tools, this);
    this.refresh();
  }

  job(id) {
    return this.jobs.get(id) ?? { id, spans: [], marks: [] };
  }

  // Shows the state: which charts, which part of them.
  refresh() {
    this.tools?.show(this.state);
    const text = this.state.charts.toLowerCase();
    let matching = 0;
    for (const panel of this.panels) {
      panel.element.hidden = !panel.text.includes(text);
      matching += panel.element.hidden ? 0 : 1;
    }
    const none = this.root.querySelector("[data-no-match]");
    if (none) none.hidden = matching > 0;
    this.#unfold(text);
    for (const panel of this.panels) {
      if (!isZoomed(this.state)) panel.zoomed = null;
      panel.render();
      panel.load();
    }
  }

  // The folded charts: gone without a match, open where a text found one.
  #unfold(text) {
    const more = this.root.querySelector("[data-more]");
    if (!more) return;
    more.hidden = !more.querySelector("[data-chart]:not([hidden])");
    if (text && !more.hidden) more.open = true;
  }

  change(changes, push = false) {
    // A zoom is in units of x, so it ends when they change.
    const zoom = "x" in changes && changes.x !== this.state.x ? { from: null, to: null } : {};
    this.state = { ...this.state, ...zoom, ...changes };
    writeState(this.state, push);
    this.refresh();
  }

  actions(source) {
    return {
      zoom: (from, to) => this.change(roundedRange(from, to), true),
      preview: (from, to) => this.#preview(from, to),
      settle: () => this.#settle(),
      reset: () => this.resetZoom(),
      cursor: (x) => this.showCursor(x, source),
    };
  }

  resetZoom() {
    if (isZoomed(this.state)) this.change({ from: null, to: null }, true);
  }

  // Moves all charts at once with the data that are there; the address and the data follow when it ends.
  #preview(from, to) {
    if (!(from < to)) return;
    this.state = { ...this.state, from, to };
    for (const panel of this.panels) panel.render();
  }

  #settle() {
    clearTimeout(this.settling);
    this.settling = setTimeout(() => {
      if (isZoomed(this.state)) this.change(roundedRange(this.state.from, this.state.to), true);
    }, SETTLE_MS);
  }

  showCursor(x, source, isSpoken = false) {
    if (this.movingCursor) return;
    this.movingCursor = true;
    for (const panel of this.panels) if (panel.plot) panel.showCursor(x, isSpoken && panel === source);
    this.movingCursor = false;
  }

  onKey(event, panel) {
    if (!panel.plot || event.ctrlKey || event.metaKey || event.altKey) return;
    const act = {
      ArrowLeft: () => this.#step(panel, event.shiftKey ? -10 : -1),
      ArrowRight: () => this.#step(panel, event.shiftKey ? 10 : 1),
      "+": () => panel.plot.zoomBy(0.5, panel.cursorX),
      "-": () => panel.plot.zoomBy(2, panel.cursorX),
      0: () => this.resetZoom(),
      y: () => this.change({ y: this.state.y === "log" ? "lin" : "log" }),
      s: () => this.tools.toggleSmoothing(),
      Escape: () => this.showCursor(null, panel),
    }[event.key];
    act?.();
    if (!act) return;
    event.preventDefault();
    event.stopPropagation();
  }

  #step(panel, by) {
    const [low, high] = panel.plot.xRange();
    const xs = panel.plot.xs().filter((x) => x >= low && x <= high);
    if (!xs.length) return;
    const now = panel.cursorX === null ? -1 : xs.findIndex((x) => x >= panel.cursorX);
    const next = panel.cursorX === null ? (by > 0 ? 0 : xs.length - 1) : (now < 0 ? xs.length : now) + by;
    this.showCursor(xs[Math.max(0, Math.min(xs.length - 1, next))], panel, true);
  }

  #seen(entries) {
    for (const { target, isIntersecting } of entries) {
      const panel = this.panels.find(({ element }) => element === target);
      if (!panel) continue;
      panel.visible = isIntersecting;
      if (isIntersecting && panel.plot) panel.render();
      panel.load();
    }
  }

  #resized(entries) {
    for (const { target, contentRect } of entries) {
      this.panels.find(({ box }) => box === target)?.plot?.resize(contentRect.width);
    }
  }

  #redraw() {
    for (const panel of this.panels) {
      panel.shape = null;
      panel.render();
    }
  }

  #onMetrics({ job }) {
    if (!this.jobs.has(job) || this.liveTimer) return;
    this.liveTimer = setTimeout(() => {
      this.liveTimer = 0;
      if (isZoomed(this.state)) {
        for (const panel of this.panels) panel.missed = true;
        this.tools?.showNews();
      } else for (const panel of this.panels) this.#extend(panel);
      if (!this.panels.length || Date.now() - this.keysAt > NEW_KEYS_MS) this.#loadPage();
    }, LIVE_MS);
  }

  #extend(panel) {
    if (panel.visible) panel.extend();
    else panel.missed = true;
  }

  // New metrics bring new charts; those that are there stay, with what a person has set in them.
  async #loadPage() {
    if (!this.root.dataset.source) return;
    this.keysAt = Date.now();
    if (await mergeCharts(this.root)) this.#adopt();
  }
}

const root = document.querySelector("[data-charts]");
if (root) new Charts(root);
