// A part of the page that could not be refreshed keeps what it shows, dimmed, with its time, the reason and a retry.
const AGAIN_MS = 10_000;
const UNREACHABLE = "the service is not reachable";
// When each part was last as the service has it.
const shown = new Map();
const timers = new Map();
const since = new Date();

export function markFresh(part) {
  shown.set(part.id, new Date());
}

function showStale(part, reason) {
  const note = part.querySelector(":scope > .stale-note") ?? document.createElement("p");
  const retry = document.createElement("button");
  note.className = "stale-note";
  retry.type = "button";
  retry.className = "button";
  retry.textContent = "Retry";
  retry.addEventListener("click", () => refreshAgain(part));
  const time = (shown.get(part.id) ?? since).toLocaleTimeString();
  note.replaceChildren(`Showing ${time}. Not refreshed: ${reason} `, retry);
  part.prepend(note);
  clearTimeout(timers.get(part.id));
  timers.set(part.id, setTimeout(() => refreshAgain(part), AGAIN_MS));
}

function refreshAgain(part) {
  if (part.isConnected && "stale" in part.dataset) document.dispatchEvent(new CustomEvent("mcn:refresh", { detail: { part } }));
}

function showAlert(text) {
  const box = document.createElement("div");
  box.className = "alert";
  const dismiss = document.createElement("button");
  dismiss.type = "button";
  dismiss.dataset.dismiss = "";
  dismiss.setAttribute("aria-label", "Dismiss");
  dismiss.textContent = "✕";
  box.append(`${text} `, dismiss);
  document.getElementById("alerts").replaceChildren(box);
}

const isPart = (element) => element instanceof Element && element.matches("[data-live-src]");

document.addEventListener("htmx:error", (event) => {
  if (!event.detail.ctx) return;
  if (isPart(event.target)) {
    event.target.dataset.stale = "";
    showStale(event.target, `${UNREACHABLE}.`);
  } else showAlert(`Not done: ${UNREACHABLE}.`);
});

document.addEventListener("htmx:before:response", (event) => {
  const { raw, status } = event.detail.ctx.response;
  // 401 leads to the login page.
  if (!isPart(event.target) || status < 400 || status === 401) return;
  event.preventDefault();
  event.target.dataset.stale = "";
  raw.text().then((html) => {
    const answer = new DOMParser().parseFromString(html, "text/html");
    const reason = answer.querySelector(".alert span")?.textContent ?? `the service answered ${status}`;
    showStale(event.target, `${reason}.`);
  });
});
