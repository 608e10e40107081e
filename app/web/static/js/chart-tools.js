// The controls above the charts.
import { SMOOTH_STEPS, isZoomed } from "./chart-state.js";

export class Tools {
  constructor(element, charts) {
    this.element = element;
    this.charts = charts;
    this.lastSmooth = 50;
    this.field = (name) => element.querySelector(`[name="${name}"]`);
    element.hidden = false;
    this.field("smooth").max = String(SMOOTH_STEPS.length - 1);
    element.addEventListener("submit", (event) => event.preventDefault());
    element.addEventListener("input", (event) => this.#changed(event.target));
    element.querySelector("[data-reset]").addEventListener("click", () => charts.resetZoom());
    this.news = element.querySelector("[data-news]");
    this.news.addEventListener("click", () => charts.resetZoom());
  }

  #changed(field) {
    const value = {
      smooth: () => ({ smooth: SMOOTH_STEPS[Number(field.value)] }),
      logx: () => ({ logx: field.checked }),
      focus: () => ({ focus: field.checked }),
    }[field.name]?.() ?? { [field.name]: field.value };
    this.charts.change(value);
  }

  toggleSmoothing() {
    const { smooth } = this.charts.state;
    if (smooth) this.lastSmooth = smooth;
    this.charts.change({ smooth: smooth ? 0 : this.lastSmooth });
  }

  show(state) {
    for (const name of ["x", "y"]) this.field(name).value = state[name];
    for (const name of ["logx", "focus"]) this.field(name).checked = state[name];
    if (this.field("charts").value !== state.charts) this.field("charts").value = state.charts;
    const index = SMOOTH_STEPS.findIndex((steps) => steps >= state.smooth);
    this.field("smooth").value = String(index < 0 ? SMOOTH_STEPS.length - 1 : index);
    const text = state.smooth ? `${state.smooth} steps` : "off";
    this.element.querySelector("[data-smooth]").textContent = text;
    this.field("smooth").setAttribute("aria-valuetext", text);
    this.element.querySelector("[data-reset]").hidden = !isZoomed(state);
    if (!isZoomed(state)) this.news.hidden = true;
  }

  // New values came that the zoomed view does not show.
  showNews() {
    this.news.hidden = false;
  }
}
