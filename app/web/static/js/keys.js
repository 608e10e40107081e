// Keyboard shortcuts. Single keys can be switched off; they never act while a person is typing.
const PAGES = { j: "/ui/jobs", s: "/ui/sweeps", m: "/ui/components", c: "/ui/cluster" };
const STORED = "mcn.single-keys";
let pending = "";

function enabled() {
  return localStorage.getItem(STORED) !== "off";
}

const box = document.getElementById("single-keys");
if (box) {
  box.checked = enabled();
  box.addEventListener("change", () => localStorage.setItem(STORED, box.checked ? "on" : "off"));
}

function rows() {
  return [...document.querySelectorAll("[data-row]")];
}

function moveRow(by) {
  const all = rows();
  const now = all.findIndex((row) => row.contains(document.activeElement));
  const next = all[Math.min(all.length - 1, Math.max(0, now + by))];
  next?.querySelector("a[data-open]")?.focus();
}

function currentRow() {
  return document.activeElement?.closest?.("[data-row]");
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey && event.key === "k") {
    const search = document.querySelector("[data-search]");
    if (search) search.focus();
    else location.assign("/ui/jobs");
    event.preventDefault();
    return;
  }
  const typing = event.target.closest?.("input:not([type=checkbox]), textarea, select, [contenteditable], dialog");
  if (typing || event.ctrlKey || event.metaKey || event.altKey || !enabled()) return;
  if (pending === "g" && PAGES[event.key]) {
    pending = "";
    location.assign(PAGES[event.key]);
    return;
  }
  pending = event.key === "g" ? "g" : "";
  const act = {
    "/": () => document.querySelector("[data-search]")?.focus(),
    j: () => moveRow(1),
    k: () => moveRow(-1),
    x: () => currentRow()?.querySelector("input[type=checkbox]")?.click(),
    c: () => document.querySelector("[data-compare]")?.click(),
    n: () => location.assign("/ui/new"),
    "[": () => document.querySelector("a[rel=prev]")?.click(),
    "]": () => document.querySelector("a[rel=next]")?.click(),
    "?": () => document.getElementById("help")?.showModal(),
  }[event.key];
  if (act) {
    act();
    event.preventDefault();
  }
});
