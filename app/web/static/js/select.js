// Selecting rows of a list: a bar with the number of selected rows, and ranges with Shift.
document.documentElement.classList.add("js");
let last = null;

function boxes() {
  return [...document.querySelectorAll("#bulk input[name=job]")];
}

function show() {
  const bar = document.querySelector("[data-selection]");
  if (!bar) return;
  const count = boxes().filter((box) => box.checked).length;
  bar.toggleAttribute("data-active", count > 0);
  bar.querySelector("[data-selected-count]").textContent = count;
  bar.querySelector("[data-compare]").disabled = count < 2;
}

document.addEventListener("click", (event) => {
  const box = event.target.closest?.("#bulk input[name=job]");
  if (!box) return;
  const all = boxes();
  if (event.shiftKey && last && all.includes(last)) {
    const [from, to] = [all.indexOf(last), all.indexOf(box)].sort((a, b) => a - b);
    for (const other of all.slice(from, to + 1)) other.checked = box.checked;
  }
  last = box;
});
document.addEventListener("change", show);
document.addEventListener("htmx:after:swap", show);
show();
