// The form of a new job: keeps form and text in line, puts errors beside their fields, keeps a draft.
import { markSubmitted } from "./draft.js";

const form = document.getElementById("new-job");
const text = document.getElementById("text");
const stored = `mcn.draft.${form.dataset.kind}`;
const note = document.getElementById("draft-note");
const toPlan = document.getElementById("to-plan");

function setEdited(value) {
  form.querySelector(`input[name="edited"][value="${value}"]`).checked = true;
}

function edited() {
  return form.querySelector('input[name="edited"]:checked')?.value;
}

// Before htmx sees the event.
form.addEventListener("input", (event) => {
  if (event.target === text) setEdited("text");
  else if ("field" in event.target.dataset) setEdited("form");
  save();
}, true);

function read(panel, name) {
  return panel.dataset[name] ? JSON.parse(panel.dataset[name]) : null;
}

function fieldsByName() {
  const fields = new Map();
  for (const field of form.querySelectorAll("[data-field]")) {
    fields.set(field.name, [...(fields.get(field.name) ?? []), field]);
  }
  return fields;
}

function setValue(fields, value) {
  for (const field of fields) {
    if (field.type === "radio") {
      field.checked = field.value === value;
    } else if (field !== document.activeElement && field.value !== value) {
      if (field.tagName === "SELECT" && ![...field.options].some((option) => option.value === value)) {
        field.add(new Option(value, value));
      }
      field.value = value;
      if (value) field.closest("details")?.setAttribute("open", "");
    }
  }
}

function showDefaults(defaults) {
  const words = { true: "yes", false: "no" };
  for (const [name, fields] of fieldsByName()) {
    const value = defaults[name];
    if (value === undefined || fields[0].type === "radio") continue;
    const option = fields[0].querySelector?.("[data-default-option]");
    if (option) option.textContent = `default: ${words[value] ?? value}`;
    else if (!fields[0].name.endsWith(".from")) fields[0].placeholder = value;
  }
}

function showErrors(errors) {
  for (const box of form.querySelectorAll("[data-error]")) {
    const message = errors[box.dataset.error] ?? "";
    box.textContent = message;
    box.hidden = message === "";
    const field = document.getElementById(`f-${box.dataset.error}`);
    if (!field) continue;
    if (message) field.setAttribute("aria-invalid", "true");
    else field.removeAttribute("aria-invalid");
    if (message) field.closest("details")?.setAttribute("open", "");
  }
}

function addExpert() {
  const rows = form.querySelectorAll("[data-expert]");
  const last = rows[rows.length - 1];
  if (!last) return null;
  const number = rows.length;
  const row = last.cloneNode(true);
  const renamed = (value) => value.replaceAll(/experts\.\d+\./g, `experts.${number}.`);
  for (const element of [row, ...row.querySelectorAll("*")]) {
    for (const name of ["id", "name", "for", "aria-describedby", "data-error"]) {
      if (element.hasAttribute(name)) element.setAttribute(name, renamed(element.getAttribute(name)));
    }
  }
  row.dataset.expert = number;
  row.querySelector("[data-number]").textContent = number;
  for (const field of row.querySelectorAll("[data-field]")) field.value = "";
  for (const box of row.querySelectorAll("[data-error]")) box.hidden = true;
  last.after(row);
  return row;
}

document.getElementById("add-expert")?.addEventListener("click", (event) => {
  event.preventDefault();
  addExpert()?.querySelector("[data-field]").focus();
});

function fill(values) {
  const rows = Object.keys(values).map((name) => Number(/^experts\.(\d+)\./.exec(name)?.[1] ?? -1));
  while (form.querySelectorAll("[data-expert]").length <= Math.min(63, Math.max(...rows, -1))) {
    if (!addExpert()) break;
  }
  for (const [name, fields] of fieldsByName()) setValue(fields, values[name] ?? "");
}

document.addEventListener("htmx:after:swap", () => {
  const panel = document.getElementById("plan");
  if (!panel || panel.dataset.seen) return;
  panel.dataset.seen = "yes";
  const errors = panel.querySelectorAll(".errors li").length;
  toPlan.textContent = errors ? `${errors} error${errors === 1 ? "" : "s"}` : "Plan";
  const sameKind = panel.dataset.kind === form.dataset.kind;
  if (panel.dataset.edited !== edited()) return;
  const values = read(panel, "values");
  if (values && sameKind) fill(values);
  if (panel.dataset.edited === "form" && document.activeElement !== text) text.value = panel.dataset.text;
  if (sameKind) {
    showDefaults(read(panel, "defaults") ?? {});
    showErrors(read(panel, "errors") ?? {});
  }
  save();
});

// The draft of each kind is kept until it has become a job or is discarded.
function save() {
  try {
    localStorage.setItem(stored, text.value);
  } catch {
    // Without storage there is no draft.
  }
}

function draft() {
  try {
    return localStorage.getItem(stored);
  } catch {
    return null;
  }
}

form.addEventListener("submit", (event) => {
  if (event.submitter?.value !== "submit") return;
  save();
  markSubmitted(stored);
});

document.getElementById("discard").addEventListener("click", () => {
  localStorage.removeItem(stored);
  location.reload();
});

const before = draft();
if (form.dataset.fresh === "yes" && before && before.trim() !== text.value.trim()) {
  text.value = before;
  setEdited("text");
  note.hidden = false;
  // htmx begins to listen in a timer of its own, which can be later than the page's "load".
  window.htmx.process(form);
  form.dispatchEvent(new Event("plan"));
} else if (form.querySelector('[aria-invalid="true"]') || document.querySelector("#plan .errors")) {
  save();
}
