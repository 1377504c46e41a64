// What a page without scripts lacks: colours to choose, links that open what they lead to, copying, keys, a hint at what is beside.
"use strict";

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

function openTo(target) {
  for (let element = target; element; element = element.parentElement) {
    if (element instanceof HTMLDetailsElement) element.open = true;
  }
}

function reveal() {
  if (location.hash.startsWith(PREFIX)) return form && restore();
  const target = document.getElementById(decoded(location.hash.slice(1)));
  const there = target && (target.matches("a.there") ? target : target.querySelector(":scope > a.there"));
  if (there) return location.replace(there.href);
  if (form && target && target.closest("[hidden]")) form.reset(), apply(false);
  openTo(target);
  if (target) target.scrollIntoView();
}

// --- copying: the clipboard of old browsers, and of pages opened from disk, takes only what is selected

function offerCopy(pre) {
  const button = document.createElement("button"), box = document.createElement("div");
  button.type = "button", button.className = "copy", button.textContent = "Copy", box.className = "copied";
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
  pre.replaceWith(box);
  box.append(pre, button);
}

// --- what sticks out of its box fades where it goes on

function hint(box) {
  const look = () => {
    const left = box.scrollWidth - box.clientWidth - box.scrollLeft;
    box.classList.toggle("beyond", left > 2);
  };
  box.addEventListener("scroll", look, { passive: true });
  new ResizeObserver(look).observe(box);
}

// --- keys: / searches, j and k go from outcome to outcome, and open what hides it

function onKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("input, select, textarea, [data-scene] *")) return;
  if (event.key === "/" && form && !form.hidden) event.preventDefault(), form.elements.q.focus();
  if (event.key !== "j" && event.key !== "k") return;
  const shown = outcomes.filter((it) => it.fits).map((it) => it.element.querySelector("summary, h3 a, a.there"));
  const next = shown[shown.indexOf(document.activeElement) + (event.key === "j" ? 1 : -1)];
  if (!next) return;
  openTo(next.closest("[data-outcome]").parentElement);
  next.focus();
}

addEventListener("hashchange", reveal);
addEventListener("keydown", onKey);
addEventListener("DOMContentLoaded", () => {
  offerTheme();
  prepare();
  document.querySelectorAll("pre.repeat").forEach(offerCopy);
  document.querySelectorAll(".scroll, .pic-scroll").forEach(hint);
  reveal();
});
