// Takes charts that the server has rendered anew into the page.

// Charts with the lines that they had stay, with what a person has set in them. False if the server did not answer.
export async function mergeCharts(root) {
  const page = await render(root.dataset.source);
  if (!page) return false;
  const old = new Map([...root.querySelectorAll("[data-chart]")].map((element) => [element.dataset.panel, element]));
  const keptOr = (element) => {
    const kept = old.get(element.dataset.panel);
    if (!kept || keysOf(kept) !== keysOf(element)) return element;
    kept.querySelector(".chart-values tbody").replaceWith(element.querySelector(".chart-values tbody"));
    return kept;
  };
  root.dataset.charts = page.dataset.charts;
  const grids = [...root.querySelectorAll(".chart-grid")];
  if (!grids.length) root.replaceChildren(...page.childNodes);
  else if (page.querySelector(".chart-grid")) {
    // The open grid and the folded one: the section that folds it stays as the person left it.
    const fresh = [...page.querySelectorAll(".chart-grid")].map((grid) => [...grid.children].map(keptOr));
    grids.forEach((grid, number) => {
      const elements = fresh[number];
      const isSame = elements.length === grid.children.length && elements.every((element, k) => element === grid.children[k]);
      if (!isSame) grid.replaceChildren(...elements);
    });
    root.querySelector("[data-more-titles]").replaceChildren(...page.querySelector("[data-more-titles]").childNodes);
  }
  return true;
}

const keysOf = (element) => JSON.parse(element.dataset.chart).lines.map((line) => line.key).join(" ");

async function render(source) {
  try {
    const answer = await fetch(source, { headers: { "HX-Request": "true" } });
    if (!answer.ok) return null;
    return new DOMParser().parseFromString(await answer.text(), "text/html").getElementById("curves-panels");
  } catch {
    // The next event tries again; the badge of the page says that the connection is lost.
    return null;
  }
}
