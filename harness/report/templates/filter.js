// The filter. What fits is decided for outcomes; everything that stands for outcomes follows them: cards, rows, columns, sections.
"use strict";

const FIELDS = ["bug", "outcome", "solver", "tool", "tag"];
const SEVERAL = ["bug", "tag"]; // an outcome may have more than one of these
const PREFIX = "#filter?";
let form, outcomes = [], followers = [], matrices = [], wholes = [];

function restore() {
  const asked = new URLSearchParams(location.hash.slice(PREFIX.length));
  for (const control of form.elements) {
    if (control.type === "checkbox") control.checked = asked.has(control.name);
    else if (control.name) control.value = asked.get(control.name) || "";
  }
  apply(false);
  scrollTo(0, 0);
}

// The state is in the address, so that a link shows the same.
function apply(tell = true) {
  const asked = new FormData(form), words = asked.get("q").toLowerCase().split(/\s+/).filter(Boolean);
  const kept = new URLSearchParams([...asked].filter(([, value]) => value));
  let shown = 0;
  for (const it of outcomes) {
    it.fits = FIELDS.every((field) => !asked.get(field) || it.values[field].includes(asked.get(field)))
      && (!asked.get("failed") || it.failed) && words.every((word) => it.text.includes(word));
    it.element.hidden = !it.fits;
    if (it.fits) shown += 1;
  }
  const filtered = Boolean(String(kept)), some = (its) => !filtered || its.some((it) => it.fits);
  for (const { element, its } of followers) element.hidden = !some(its);
  for (const it of matrices) narrow(it, some);
  for (const { element, its, nav } of wholes) {
    element.hidden = !some(its);
    if (nav) nav.hidden = element.hidden;
  }
  document.documentElement.classList.toggle("filtered", filtered);
  document.getElementById("nothing").hidden = shown > 0;
  form.querySelector("output").textContent = shown === outcomes.length ? `${shown} outcomes` : `${shown} of ${outcomes.length} outcomes`;
  if (tell) history.replaceState(null, "", filtered ? PREFIX + kept : location.pathname + location.search);
}

// A cell that does not fit is empty; a column without any that fits goes, and with the last of a solver's columns its name.
function narrow({ cells, columns, heads }, some) {
  for (const { element, its } of cells) element.classList.toggle("unfit", !some(its));
  for (const { its, parts } of columns) for (const part of parts) part.hidden = !some(its);
  for (const { element, its } of heads) {
    const left = its.filter((column) => some(column.its)).length;
    element.hidden = !left;
    if (left) element.colSpan = left;
  }
}

// --- once, when the page is there

function readOutcomes() {
  const told = (element, field) => element.closest(`[data-${field}]`)?.dataset[field] ?? "";
  return [...document.querySelectorAll("[data-outcome]")].map((element) => {
    const values = Object.fromEntries(FIELDS.map((field) => {
      const value = told(element, field);
      return [field, SEVERAL.includes(field) ? value.split(" ").filter(Boolean) : [value]];
    }));
    const name = told(element, "case"), sentence = element.querySelector(".sentence");
    const text = [name, values.solver, values.tool, values.outcome, values.tag.join(" "), sentence ? sentence.textContent : ""];
    return { element, values, case: name, text: text.join(" ").toLowerCase(), failed: "failed" in element.dataset, fits: true };
  });
}

// By what it says it stands for, else by the outcomes that it links to.
function membersOf(element, byCase, byLink) {
  const { case: name, solver, tool, bug } = element.dataset;
  if (name === undefined && solver === undefined && bug === undefined) {
    return [...element.querySelectorAll("a[href^='#']")].map((link) => byLink.get(link.getAttribute("href").slice(1))).filter(Boolean);
  }
  return (name === undefined ? outcomes : byCase.get(name) || []).filter((it) => [["solver", solver], ["tool", tool], ["bug", bug]]
    .every(([field, value]) => value === undefined || it.values[field].includes(value)));
}

function readMatrix(table, byLink) {
  const rows = [...table.tBodies[0].rows], top = [...table.tHead.rows[0].cells].slice(1);
  const under = table.tHead.rows[1] ? [...table.tHead.rows[1].cells] : top;
  const cellOf = (element) => ({ element, its: [byLink.get(element.querySelector("a")?.getAttribute("href").slice(1))].filter(Boolean) });
  const grid = rows.map((row) => [...row.cells].slice(1).map(cellOf));
  const columns = under.map((head, i) => ({
    its: grid.flatMap((row) => row[i].its), parts: [...(head === top[i] ? [] : [head]), ...grid.map((row) => row[i].element)],
  }));
  let at = 0;
  const heads = top.map((element) => ({ element, its: columns.slice(at, at += element.colSpan) }));
  return { cells: grid.flat().filter((it) => it.element.querySelector("a")), columns, heads };
}

function offerChoices() {
  const titles = new Map([...document.querySelectorAll("article.bug")].map((it) => [it.dataset.bug, `${it.dataset.bug}: ${it.dataset.symptom}`]));
  for (const field of FIELDS) {
    const values = [...new Set(outcomes.flatMap((it) => it.values[field]).filter(Boolean))];
    values.sort(field === "bug" ? (a, b) => a - b : undefined);
    for (const value of values) form.elements[field].add(new Option(titles.get(value) ?? value, value));
    if (values.length < 2) form.elements[field].parentElement.hidden = true;
  }
}

function prepare() {
  outcomes = readOutcomes();
  form = document.getElementById("filter");
  if (!form) return;
  const byLink = new Map(outcomes.map((it) => [it.element.id, it])), byCase = new Map();
  for (const it of outcomes) byCase.set(it.case, [...(byCase.get(it.case) || []), it]);
  followers = [...document.querySelectorAll("[data-with]")].map((element) => ({ element, its: membersOf(element, byCase, byLink) }));
  matrices = [...document.querySelectorAll("table.outcomes")].map((table) => readMatrix(table, byLink));
  const all = new Map([...outcomes.map((it) => [it.element, [it]]), ...followers.map(({ element, its }) => [element, its])]);
  wholes = [...document.querySelectorAll("section, [data-whole]")].map((element) => {
    const inside = [...element.querySelectorAll("[data-outcome], [data-with]")];
    const title = element.getAttribute("aria-labelledby");
    return { element, inside, its: inside.flatMap((it) => all.get(it)), nav: document.querySelector(`nav a[href='#${title}']`) };
  }).filter(({ inside }) => inside.length);
  offerChoices();
  form.hidden = outcomes.length < 2;
  for (const element of document.querySelectorAll(".keys")) element.hidden = form.hidden;
  form.addEventListener("input", () => apply());
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("reset", () => setTimeout(apply));
  apply(false);
}
