// Texts of axes, and the colours of the page and of lines.
import { numberText } from "./chart-data.js";

export function clockText(seconds, isLong) {
  const time = new Date(seconds * 1000);
  if (isLong) return time.toLocaleDateString([], { month: "short", day: "numeric", hour: "2-digit" });
  return time.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: "2-digit", hour12: false });
}

export function tickText(value) {
  if (value === null) return "";
  const size = Math.abs(value);
  if (size >= 1e6 || (size > 0 && size < 1e-3)) return value.toExponential(2).replace(/\.?0+e/, "e").replace("+", "");
  return size >= 10_000 ? `${Number((value / 1000).toPrecision(4))}k` : numberText(Number(value.toPrecision(4)));
}

// The colours of the page, and those of a line from the sample in the table of values.
export function pageColours(element) {
  const style = getComputedStyle(element);
  const probe = document.createElement("span");
  element.append(probe);
  const colour = (name) => {
    probe.style.setProperty("color", `var(${name})`);
    return getComputedStyle(probe).color;
  };
  const names = { text: "--text", dim: "--dim", line: "--line", background: "--bg" };
  const colours = Object.fromEntries(Object.entries(names).map(([key, name]) => [key, colour(name)]));
  colours.font = style.fontFamily;
  probe.remove();
  return colours;
}

export function lookOf(sample) {
  const style = getComputedStyle(sample);
  const dash = style.strokeDasharray === "none" ? [] : style.strokeDasharray.split(/[ ,]+/).map(parseFloat);
  return { stroke: style.stroke, width: parseFloat(style.strokeWidth), dash };
}
