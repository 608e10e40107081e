// The view of the charts lives in the address, so that a link shows the same.
const DEFAULTS = { x: "step", logx: false, y: "lin", focus: false, smooth: 0, from: null, to: null, charts: "" };
const X_MODES = ["step", "epoch", "training", "wall"];
export const SMOOTH_STEPS = [0, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 20000, 50000];

export function readState(search = location.search) {
  const query = new URLSearchParams(search);
  const state = { ...DEFAULTS };
  if (X_MODES.includes(query.get("x"))) state.x = query.get("x");
  state.y = query.get("y") === "log" ? "log" : "lin";
  state.logx = query.get("logx") === "1";
  state.focus = query.get("focus") === "1";
  state.smooth = Math.max(0, Math.round(Number(query.get("smooth")) || 0));
  state.charts = query.get("charts") ?? "";
  const from = Number(query.get("from"));
  const to = Number(query.get("to"));
  if (query.has("from") && query.has("to") && Number.isFinite(from) && Number.isFinite(to) && from < to) {
    state.from = from;
    state.to = to;
  }
  return state;
}

// The address with this state; parameters that are not of the charts stay.
export function addressOf(state, address = location.href) {
  const url = new URL(address);
  for (const [name, standard] of Object.entries(DEFAULTS)) {
    const value = state[name];
    if (value === standard || value === null || value === "") url.searchParams.delete(name);
    else url.searchParams.set(name, value === true ? "1" : String(value));
  }
  url.search = url.search.replaceAll("%7E", "~");
  return url.href;
}

// Forms that lead to the same page take the view with them.
export function keepInForms(state) {
  for (const form of document.querySelectorAll("form[data-keeps-view]")) {
    for (const field of form.querySelectorAll("[data-view]")) field.remove();
    for (const [name, value] of new URL(addressOf(state, location.origin)).searchParams) {
      const field = document.createElement("input");
      field.type = "hidden";
      field.dataset.view = "";
      [field.name, field.value] = [name, value];
      form.append(field);
    }
  }
}

export function writeState(state, push) {
  keepInForms(state);
  const address = addressOf(state);
  if (address === location.href) return;
  if (push) history.pushState(null, "", address);
  else history.replaceState(history.state, "", address);
}

export const isZoomed = (state) => state.from !== null;

// The ends of a zoom with four digits of its width, so that the address stays short.
export function roundedRange(from, to) {
  const digits = Math.max(0, Math.min(12, 3 - Math.floor(Math.log10(to - from))));
  return { from: Number(from.toFixed(digits)), to: Number(to.toFixed(digits)) };
}
