// The grader bench: shortcuts, only the fields that the chosen rows and answers need, and text that is not lost.
import { guardText } from "./unsaved.js";

function showNeeded(form) {
  const pick = form.querySelector("[name=pick]");
  if (!pick) return;
  for (const part of form.querySelectorAll("[data-pick]")) {
    part.hidden = !part.dataset.pick.split(" ").includes(pick.value);
  }
  for (const part of form.querySelectorAll("[data-answers]")) {
    part.hidden = !form.querySelector(`[name=answers][value=${part.dataset.answers}]`).checked;
  }
}

// A trial began: the options make room, and its results come into view.
function showResults(form) {
  form.querySelector("[data-grader-options]").open = false;
  document.getElementById("results-title").scrollIntoView({ block: "nearest" });
}

function initBench(form) {
  const pressButton = (event, selector) => {
    const button = form.querySelector(selector);
    if (!button) return;
    event.preventDefault();
    button.click();
  };
  form.addEventListener("keydown", (event) => {
    if (!(event.ctrlKey || event.metaKey)) return;
    if (event.key === "Enter") pressButton(event, "[data-bench-run]");
    if (event.key === "s") pressButton(event, "[data-bench-save]");
  });
  form.addEventListener("change", () => showNeeded(form));
  document.body.addEventListener("trial", () => showResults(form));
  showNeeded(form);
  guardText(form);
}

for (const form of document.querySelectorAll("[data-bench]")) initBench(form);
