// One event stream per page. It refreshes parts of the page and never touches what a person has set.
//
// <main data-stream="/events?.." data-job="ID"> names the stream; parts with `data-live-src` and `data-live-on` are
// fetched again and morphed when an event of these types arrives, at most once a second and after each reconnection.
import { showAge, toast } from "./main.js";
import { markFresh } from "./stale.js";

const TYPES = ["state", "progress", "metrics", "component", "log", "alert", "rung"];
const REFRESH_MS = 1000;
const MAX_DELAY_MS = 30_000;
// After so long without an event the service is probed, which has as long to answer.
const PROBE_MS = 8_000;
const ANSWER_MS = 5_000;
const TERMINAL = new Set(["succeeded", "failed", "cancelled"]);
const main = document.getElementById("main");
const badge = document.getElementById("live");
const status = badge.querySelector("[role=status]");
const age = badge.querySelector("time");
const title = document.title;

let source = null;
// The last event before the page was read: none that came since then is missed.
let lastId = main?.dataset.since ?? "";
let lostAt = 0;
// The stream is open, but the service has no new events to send as it cannot read them.
let isUnavailable = false;
let probeAt = Infinity;
let shownAt = new Date();
let delay = 1000;
const dirty = new Set();

function open() {
  if (source || document.hidden) return;
  const url = new URL(main.dataset.stream, location.href);
  if (lastId) url.searchParams.set("last_event_id", lastId);
  source = new EventSource(url);
  source.addEventListener("open", connected);
  source.addEventListener("error", lost);
  for (const type of TYPES) source.addEventListener(type, (event) => receive(type, event));
}

function close() {
  source?.close();
  source = null;
}

function connected() {
  delay = 1000;
  isUnavailable = false;
  probeAt = Date.now() + PROBE_MS;
  if (lostAt) {
    lostAt = 0;
    refreshAll();
    document.dispatchEvent(new CustomEvent("mcn:reconnected"));
  }
  showBadge();
}

function lost() {
  lostAt ||= Date.now();
  isUnavailable = false;
  showBadge();
  // The browser reconnects by itself, except after an answer that is no stream.
  if (source?.readyState === EventSource.CLOSED) {
    close();
    setTimeout(open, delay);
    delay = Math.min(MAX_DELAY_MS, delay * 2);
  }
}

// A stream stays open while the database is away or the service stands still, and no events may just mean no news.
async function probe() {
  if (!source || Date.now() < probeAt || (lostAt && !isUnavailable)) return;
  probeAt = Infinity;
  const isAvailable = await canReadEvents();
  probeAt = Date.now() + PROBE_MS;
  if (!source || (lostAt && !isUnavailable)) return;
  if (isAvailable && isUnavailable) connected();
  if (isAvailable || isUnavailable) return;
  isUnavailable = true;
  lostAt = Date.now();
  showBadge();
}

async function canReadEvents() {
  try {
    const answer = await fetch("/readyz", { signal: AbortSignal.timeout(ANSWER_MS) });
    // Other parts that are missing do not keep events from being read.
    return answer.ok || !(await answer.json()).errors.some((error) => error.loc[0] === "database");
  } catch {
    return false;
  }
}

function receive(type, event) {
  probeAt = Date.now() + PROBE_MS;
  if (isUnavailable) connected();
  if (event.lastEventId) lastId = event.lastEventId;
  markShown();
  const data = JSON.parse(event.data);
  if (type === "progress") showProgress(data.job, data);
  if (type === "metrics") document.dispatchEvent(new CustomEvent("mcn:metrics", { detail: { job: data.job } }));
  if (type === "state" && data.job === main.dataset.job) showState(data);
  for (const part of document.querySelectorAll("[data-live-src]")) {
    const jobs = part.dataset.liveJob;
    if (part.dataset.liveOn?.split(" ").includes(type) && (!jobs || jobs === data.job)) dirty.add(part.id);
  }
}

function showProgress(job, data) {
  const fraction = data.steps ? Math.min(1, data.step / data.steps) : 0;
  const values = {
    fraction,
    percent: percent(fraction),
    epoch: grouped(data.epoch),
    epochs: grouped(data.epochs),
    step: grouped(data.step),
    steps: grouped(data.steps),
    images_per_s: data.images_per_s == null ? "" : grouped(Math.round(data.images_per_s)),
    eta: data.eta_s == null ? "" : duration(data.eta_s),
  };
  for (const box of document.querySelectorAll(`[data-progress-of="${CSS.escape(job)}"]`)) {
    for (const place of box.querySelectorAll("[data-live]")) {
      const value = values[place.dataset.live];
      if (value === undefined || value === null) continue;
      if (place.tagName === "PROGRESS") place.value = value;
      else if (place.textContent !== String(value)) place.textContent = value;
    }
  }
  if (job === main.dataset.job) document.title = `${percent(fraction)} · ${title}`;
}

function showState(data) {
  if (!TERMINAL.has(data.state)) return;
  document.title = `${data.state} · ${title}`;
  toast(`The job has ${data.state === "cancelled" ? "been cancelled" : data.state}.`, 10_000);
}

// Whole numbers in groups of three, as the server writes them.
const grouped = (value) => (value == null ? null : String(value).replace(/\B(?=(\d{3})+$)/g, "\u202f"));

export function percent(fraction) {
  return `${fraction < 1 ? Math.min(99, Math.floor(fraction * 100)) : 100} %`;
}

export function duration(seconds) {
  const whole = Math.round(seconds);
  for (const [size, unit, smaller, name] of [[86400, "d", 3600, "h"], [3600, "h", 60, "min"], [60, "min", 1, "s"]]) {
    if (whole >= size) {
      const rest = Math.floor((whole % size) / smaller);
      return `${Math.floor(whole / size)} ${unit}${rest ? ` ${rest} ${name}` : ""}`;
    }
  }
  return `${whole} s`;
}

// A table does not move under the pointer, nor while rows are selected; a log that is followed is up to date.
function isHeld(part) {
  if ("following" in part.dataset) return true;
  return "liveHold" in part.dataset && (part.matches(":hover") || part.querySelector("input:checked") !== null);
}

async function refresh(part) {
  await window.htmx.ajax("GET", part.dataset.liveSrc, { source: part, target: part, swap: "outerMorph" });
  if ("stale" in part.dataset) return;
  markFresh(part);
}

function refreshAll() {
  for (const part of document.querySelectorAll("[data-live-src]")) dirty.add(part.id);
}

async function refreshDirty() {
  for (const id of [...dirty]) {
    const part = document.getElementById(id);
    if (!part) dirty.delete(id);
    else if (!isHeld(part)) {
      dirty.delete(id);
      await refresh(part);
    }
    const chip = document.querySelector(`[data-held="${CSS.escape(id)}"]`);
    if (chip) chip.hidden = !dirty.has(id);
  }
  setTimeout(refreshDirty, REFRESH_MS);
}

document.addEventListener("mcn:refresh", (event) => refresh(event.detail.part));

document.addEventListener("click", (event) => {
  const chip = event.target.closest("[data-held]");
  const part = chip && document.getElementById(chip.dataset.held);
  if (!part) return;
  dirty.delete(part.id);
  chip.hidden = true;
  refresh(part);
});

function markShown() {
  shownAt = new Date();
  if (!badge.hidden) showBadge();
}

function showBadge() {
  badge.hidden = false;
  const state = isUnavailable ? "unavailable" : lostAt ? "lost" : "on";
  badge.dataset.live = state;
  const seconds = Math.round((Date.now() - lostAt) / 1000);
  const trouble = { lost: `connection lost ${seconds} s ago`, unavailable: "service not available" }[state];
  const text = trouble ? `${trouble}, showing ${shownAt.toLocaleTimeString()}, trying again` : "live";
  if (status.textContent !== text) status.textContent = text;
  age.hidden = lostAt !== 0;
  age.dateTime = shownAt.toISOString();
  age.title = `Updated at ${shownAt.toLocaleTimeString()}`;
  showAge(age);
}

async function showHiddenTitle() {
  if (!document.hidden || !main.dataset.job) return;
  const answer = await fetch(`/jobs/${main.dataset.job}/progress`).catch(() => null);
  if (!answer?.ok) return;
  const progress = await answer.json();
  document.title = TERMINAL.has(progress.state) ? `${progress.state} · ${title}` : `${percent(progress.fraction)} · ${title}`;
}

if (main?.dataset.stream) {
  // Browsers open six connections to a host: hidden tabs hold none.
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) close();
    else {
      open();
      refreshAll();
    }
  });
  window.addEventListener("pagehide", close);
  window.addEventListener("pageshow", (event) => {
    // Going back shows the page as it was when it was left or first loaded.
    const isBack = performance.getEntriesByType("navigation")[0]?.type === "back_forward";
    if (event.persisted || isBack) refreshAll();
    if (event.persisted) open();
  });
  document.addEventListener("htmx:after:swap", markShown);
  setInterval(() => lostAt && showBadge(), 1000);
  setInterval(probe, 1000);
  setInterval(showHiddenTitle, 60_000);
  open();
  refreshDirty();
}
