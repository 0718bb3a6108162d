// Keys of the pages that ask for a judgement: digits choose, the arrows and u go back and on.
import { readSingleKey } from "./keys.js";

const SELECTORS = { ArrowLeft: "[data-label-back]", u: "[data-label-back]", ArrowRight: "[data-label-skip]" };

document.addEventListener("keydown", (event) => {
  const page = document.querySelector("[data-labelling]");
  const key = readSingleKey(event);
  if (!page || key === null) return;
  // A key held down, or pressed before the next answer is there, would judge an answer nobody has read.
  if (event.repeat || page.querySelector(".htmx-request")) return;
  page.querySelector(SELECTORS[key] ?? `[data-label="${CSS.escape(key)}"]`)?.click();
});
