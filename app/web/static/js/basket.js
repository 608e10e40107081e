// The basket of components to assemble: kept while the tab is open, whatever page or filter is shown.
const STORED = "mcn.basket";
const form = document.getElementById("components");

function read() {
  try {
    const ids = JSON.parse(sessionStorage.getItem(STORED) ?? "[]");
    return Array.isArray(ids) ? ids.filter((id) => typeof id === "string") : [];
  } catch {
    return [];
  }
}

function boxes() {
  return [...form.querySelectorAll('input[type="checkbox"][name="pick"]')];
}

let requests = 0;
async function show(ids) {
  sessionStorage.setItem(STORED, JSON.stringify(ids));
  for (const box of boxes()) box.checked = ids.includes(box.value);
  const number = ++requests;
  const query = new URLSearchParams(ids.map((id) => ["pick", id]));
  const response = await fetch(`/ui/-/components/basket?${query}`, { headers: { "HX-Request": "true" } });
  if (!response.ok || number !== requests) return;
  const fragment = new DOMParser().parseFromString(await response.text(), "text/html").getElementById("basket");
  document.getElementById("basket").replaceWith(fragment);
}

form.addEventListener("change", (event) => {
  if (event.target.name !== "pick") return;
  const others = read().filter((id) => id !== event.target.value);
  show(event.target.checked ? [...others, event.target.value] : others);
});

document.addEventListener("click", (event) => {
  const link = event.target.closest("[data-remove], [data-clear]");
  if (!link) return;
  event.preventDefault();
  show("clear" in link.dataset ? [] : read().filter((id) => id !== link.dataset.remove));
});

// The basket is in this tab, so the address need not carry it.
form.addEventListener("submit", () => {
  for (const box of form.querySelectorAll('[name="pick"]')) box.disabled = true;
});

const inAddress = new URLSearchParams(location.search).getAll("pick");
document.getElementById("assemble")?.remove();
if (inAddress.length > 0) {
  const rest = new URLSearchParams(location.search);
  rest.delete("pick");
  history.replaceState(null, "", `${location.pathname}${rest.size > 0 ? `?${rest}` : ""}`);
  show([...new Set([...read(), ...inAddress])]);
} else if (read().length > 0) {
  show(read());
}
