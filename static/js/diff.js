// Word differences of two elements' texts: data-diff="idA idB" shows in one place how B differs from A;
// data-marks="idA idB" marks in A what B lacks, and in B what A lacks.
import { diffWordsWithSpace } from "diff";

const partsOf = (before, after) => diffWordsWithSpace(before?.textContent ?? "", after?.textContent ?? "");

function nodeOf(part) {
  const node = document.createElement(part.added ? "ins" : part.removed ? "del" : "span");
  node.textContent = part.value;
  return node;
}

const pair = (names) => names.split(" ").map((id) => document.getElementById(id));

function fill(element) {
  element.replaceChildren(...partsOf(...pair(element.dataset.diff)).map(nodeOf));
}

function mark(element) {
  const [before, after] = pair(element.dataset.marks);
  const parts = partsOf(before, after);
  before.replaceChildren(...parts.filter((part) => !part.added).map(nodeOf));
  after.replaceChildren(...parts.filter((part) => !part.removed).map(nodeOf));
}

function fillAll(root) {
  root.querySelectorAll("[data-diff]").forEach(fill);
  root.querySelectorAll("[data-marks]").forEach(mark);
}

fillAll(document);
document.addEventListener("htmx:afterSwap", (event) => fillAll(event.target));
