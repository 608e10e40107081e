// The values of all lines at the cross-hair, best first.
import { nearest, numberText, xText } from "./chart-data.js";

const MAX_ROWS = 8;

export class Readout {
  constructor(plot) {
    this.box = document.createElement("div");
    this.box.className = "readout";
    this.box.hidden = true;
    // What the keyboard selects is also read aloud.
    this.spoken = document.createElement("div");
    this.spoken.className = "hidden";
    this.spoken.setAttribute("role", "status");
    plot.append(this.box, this.spoken);
  }

  hide() {
    this.box.hidden = true;
  }

  // `share`: where the cross-hair is in the chart, so that the box stands on the other side.
  show({ lines, looks, better, mode, x, tolerance, share, isSpoken }) {
    const rows = lines.map((one, number) => {
      const index = nearest(one, x, tolerance);
      return index === null ? null : { one, look: looks[number], value: one.y[index], raw: one.raw?.[index] };
    });
    const known = rows.filter((row) => row !== null);
    if (!known.length) return this.hide();
    const sign = better === "min" ? 1 : -1;
    const rank = (row) => (row.value === null ? Infinity : sign * row.value);
    known.sort((a, b) => rank(a) - rank(b) || 0);
    // The oracle is a bound, not a model, so it is not the best of them.
    const ranked = known.filter((row) => row.value !== null && row.one.line.ranked);
    const best = better && ranked.length > 1 ? ranked[0].value : null;
    const table = document.createElement("table");
    const caption = table.createCaption();
    caption.textContent = xText(x, mode);
    for (const row of known.slice(0, MAX_ROWS)) table.append(rowOf(row, best !== null && row.one.line.ranked && row.value === best));
    this.box.replaceChildren(table);
    if (known.length > MAX_ROWS) {
      const more = document.createElement("p");
      more.textContent = `${known.length - MAX_ROWS} more in Values`;
      this.box.append(more);
    }
    this.box.classList.toggle("on-left", share > 0.5);
    this.box.hidden = false;
    if (isSpoken) {
      const texts = known.map((row) => `${row.one.line.label} ${numberText(row.value)}`);
      this.spoken.textContent = `${caption.textContent}: ${texts.join(", ")}`;
    }
  }
}

function rowOf({ one, look, value, raw }, isBest) {
  const row = document.createElement("tr");
  row.classList.toggle("best", isBest);
  const name = document.createElement("th");
  name.scope = "row";
  const swatch = document.createElement("span");
  swatch.className = "readout-swatch";
  swatch.style.setProperty("border-top-color", look.stroke);
  swatch.style.setProperty("border-top-style", look.dash.length ? "dashed" : "solid");
  const text = document.createElement("bdi");
  text.textContent = one.line.label;
  name.append(swatch, text);
  const cell = document.createElement("td");
  cell.textContent = numberText(value) + (isBest ? " ★" : "");
  row.append(name, cell);
  if (one.raw) {
    const rawCell = document.createElement("td");
    rawCell.className = "dim";
    rawCell.textContent = `raw ${numberText(raw)}`;
    row.append(rawCell);
  }
  return row;
}
