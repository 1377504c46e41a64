// What a page without scripts lacks: links that open what they lead to, filters, copying, keys.
"use strict";

const FIELDS = ["outcome", "solver", "tool", "tag"];
const PREFIX = "#filter?";
let form, outcomes = [], followers = [];

// --- light and dark: as the system has it, until somebody says otherwise. A page from disk may be refused the memory for that.

const THEMES = { auto: "light", light: "dark", dark: "auto" };
let theme = "auto";
try { theme = localStorage.getItem("report-theme") || "auto"; } catch { /* then auto */ }

function paint(chosen) {
  theme = chosen in THEMES ? chosen : "auto";
  if (theme === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
}

paint(theme); // before anything is drawn

function offerTheme() {
  const button = document.getElementById("theme");
  const name = () => { button.textContent = `Colours: ${theme}`; };
  button.addEventListener("click", () => {
    paint(THEMES[theme]);
    name();
    try { localStorage.setItem("report-theme", theme); } catch { /* it lasts as long as the page */ }
  });
  button.hidden = false;
  name();
}

// --- links: open what they lead to, or the page that has it

function decoded(text) {
  try { return decodeURIComponent(text); } catch { return text; }
}

function reveal() {
  if (location.hash.startsWith(PREFIX)) return form && restore();
  const target = document.getElementById(decoded(location.hash.slice(1)));
  const there = target && (target.matches("a.there") ? target : target.querySelector(":scope > a.there"));
  if (there) return location.replace(there.href);
  if (form && target && target.closest("[hidden]")) form.reset(), apply(false);
  for (let element = target; element; element = element.parentElement) {
    if (element instanceof HTMLDetailsElement) element.open = true;
  }
  if (target) target.scrollIntoView();
}

// --- filters: their state is in the address, so that a link shows the same

function restore() {
  const asked = new URLSearchParams(location.hash.slice(PREFIX.length));
  for (const control of form.elements) {
    if (control.type === "checkbox") control.checked = asked.has(control.name);
    else if (control.name) control.value = asked.get(control.name) || "";
  }
  apply(false);
}

function apply(tell = true) {
  const asked = new FormData(form), words = asked.get("q").toLowerCase().split(/\s+/).filter(Boolean);
  const cases = new Set();
  let shown = 0;
  for (const it of outcomes) {
    const fits = FIELDS.every((field) => !asked.get(field) || it.values[field].includes(asked.get(field)))
      && (!asked.get("failed") || it.failed) && words.every((word) => it.text.includes(word));
    it.element.hidden = !fits;
    if (fits) shown += 1, cases.add(it.case);
  }
  for (const element of followers) element.hidden = !cases.has(element.dataset.case);
  form.querySelector("output").textContent = shown === outcomes.length ? `${shown} outcomes` : `${shown} of ${outcomes.length} outcomes`;
  if (!tell) return;
  const kept = new URLSearchParams([...asked].filter(([, value]) => value));
  history.replaceState(null, "", String(kept) ? PREFIX + kept : location.pathname + location.search);
}

function prepare() {
  const told = (element, field) => element.closest(`[data-${field}]`).dataset[field];
  outcomes = [...document.querySelectorAll("[data-outcome]")].map((element) => {
    const { outcome, solver, tool } = element.dataset, [name, tag] = ["case", "tag"].map((field) => told(element, field));
    const sentence = element.querySelector(".sentence");
    const values = { outcome: [outcome], solver: [solver], tool: [tool], tag: tag.split(" ") };
    const text = [name, solver, tool, outcome, tag, sentence ? sentence.textContent : ""].join(" ").toLowerCase();
    return { element, values, text, case: name, failed: "failed" in element.dataset };
  });
  form = document.getElementById("filter");
  if (!form) return;
  followers = document.querySelectorAll("[data-case]:not([data-outcome])");
  for (const field of FIELDS) {
    const values = new Set(outcomes.flatMap((it) => it.values[field]).filter(Boolean));
    const select = form.elements[field];
    for (const value of [...values].sort()) select.add(new Option(field === "tool" && value === "none" ? "no tool" : value, value));
    if (values.size < 2) select.parentElement.hidden = true;
  }
  form.hidden = outcomes.length < 2;
  form.addEventListener("input", () => apply());
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("reset", () => setTimeout(apply));
  apply(false);
}

// --- copying: the clipboard of old browsers, and of pages opened from disk, takes only what is selected

function offerCopy(pre) {
  const button = document.createElement("button");
  button.type = "button", button.className = "copy", button.textContent = "Copy";
  button.addEventListener("click", async () => {
    const text = pre.textContent;
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      getSelection().selectAllChildren(pre);
      document.execCommand("copy");
    }
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = "Copy"; }, 1500);
  });
  pre.before(button);
}

// --- keys: / searches, j and k go from outcome to outcome

function onKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("input, select, textarea, [data-scene] *")) return;
  if (event.key === "/" && form && !form.hidden) event.preventDefault(), form.elements.q.focus();
  if (event.key !== "j" && event.key !== "k") return;
  const shown = outcomes.filter((it) => !it.element.hidden).map((it) => it.element.querySelector("summary, h3 a, a.there"));
  const next = shown.indexOf(document.activeElement) + (event.key === "j" ? 1 : -1);
  if (shown[next]) shown[next].focus();
}

addEventListener("hashchange", reveal);
addEventListener("keydown", onKey);
addEventListener("DOMContentLoaded", () => {
  offerTheme();
  prepare();
  document.querySelectorAll("pre.repeat").forEach(offerCopy);
  reveal();
});
