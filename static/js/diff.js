// Word differences of two elements' texts: data-diff="idA idB" shows in one place how B differs from A;
// data-marks="idA idB" marks in A what B lacks, and in B what A lacks.
import { diffWords, diffWordsWithSpace } from "diff";

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

const isObject = (value) => value !== null && typeof value === "object";

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

const keysOf = (value) => JSON.stringify(value, (_, part) => (isObject(part) ? part : null));

function ordered(value, model) {
  if (!isObject(value) || !isObject(model) || Array.isArray(value)) return value;
  const keys = [...Object.keys(model).filter((key) => key in value), ...Object.keys(value)];
  return Object.fromEntries(keys.map((key) => [key, ordered(value[key], model[key])]));
}

// JSON with its keys in the other text's order, since only values count; any other text as it is.
function inOrderOf(text, other) {
  const [value, model] = [parsed(text), parsed(other)];
  if (!isObject(value) || !isObject(model)) return text;
  const sorted = ordered(value, model);
  return keysOf(sorted) === keysOf(value) ? text : JSON.stringify(sorted);
}

// data-differs-from="ID": how this element's own text differs from another's, white space apart.
const own = new WeakMap();

function differ(element) {
  if (!element.querySelector("ins, del")) own.set(element, element.textContent);
  const text = own.get(element);
  const expected = document.getElementById(element.dataset.differsFrom)?.textContent ?? "";
  element.replaceChildren(...diffWords(inOrderOf(expected, text), text).map(nodeOf));
}

function fillAll(root) {
  root.querySelectorAll("[data-differs-from]").forEach(differ);
  root.querySelectorAll("[data-diff]").forEach(fill);
  root.querySelectorAll("[data-marks]").forEach(mark);
}

fillAll(document);
document.addEventListener("htmx:afterSwap", (event) => fillAll(event.target));
