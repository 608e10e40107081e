// Behaviour that every page has: menus, confirmations, copying, dismissing, CSRF for fragments.
import "./draft.js";
import "./keys.js";

const csrf = document.querySelector('meta[name="csrf"]')?.content ?? "";

document.addEventListener("htmx:config:request", (event) => {
  const request = event.detail.ctx.request;
  if (request.method !== "GET") request.headers["X-CSRF-Token"] = csrf;
});

document.addEventListener("submit", (event) => {
  const trouble = {
    lost: "there is no connection",
    unavailable: "the service is not available",
  }[document.getElementById("live")?.dataset.live];
  if (trouble) {
    // The browser's page about the error would replace this one, which comes back by itself.
    event.preventDefault();
    event.stopPropagation();
    toast(`Nothing was sent: ${trouble}. Try again when the page is live.`);
    return;
  }
  const question = event.target.dataset?.confirm;
  if (question && !window.confirm(question)) event.preventDefault();
}, true);

document.addEventListener("click", async (event) => {
  const target = event.target.closest("[data-copy], [data-dismiss], [data-help]");
  for (const menu of document.querySelectorAll("details[data-menu][open]")) {
    if (!menu.contains(event.target)) menu.open = false;
  }
  if (!target) return;
  if ("dismiss" in target.dataset) target.closest(".alert")?.remove();
  if ("help" in target.dataset) document.getElementById("help").showModal();
  if ("copy" in target.dataset) {
    await copy(target.dataset.copy);
    toast("Copied");
  }
});

document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape") return;
  for (const menu of document.querySelectorAll("details[data-menu][open]")) {
    menu.open = false;
    menu.querySelector("summary").focus();
  }
});

async function copy(text) {
  // The clipboard API exists on HTTPS and localhost only.
  if (navigator.clipboard) return navigator.clipboard.writeText(text);
  const field = document.createElement("textarea");
  field.value = text;
  document.body.append(field);
  field.select();
  document.execCommand("copy");
  field.remove();
}

export function toast(text, lasting = 4000) {
  const box = document.createElement("div");
  box.className = "toast";
  box.textContent = text;
  document.getElementById("toasts").append(box);
  setTimeout(() => box.remove(), lasting);
}

// Times such as "3 min ago" stay true while the page is open.
export function showAge(time) {
  const seconds = Math.max(0, (Date.now() - Date.parse(time.dateTime)) / 1000);
  const [size, unit] = [[86400, "d"], [3600, "h"], [60, "min"]].find(([size]) => seconds >= size) ?? [1, "s"];
  const text = `${Math.floor(seconds / size)} ${unit} ago`;
  if (time.textContent !== text) time.textContent = text;
}
setInterval(() => document.querySelectorAll("time[datetime]").forEach(showAge), 5000);
