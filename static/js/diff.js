// Word differences of two elements' texts: data-diff="idA idB" shows in one text how B differs from A;
// data-marks="idA idB" marks in A what B lacks, and in B what A lacks.
import { diffWords, diffWordsWithSpace } from "diff";

const diffTexts = (before, after) => diffWordsWithSpace(before?.textContent ?? "", after?.textContent ?? "");

function createNode(part) {
  const node = document.createElement(part.added ? "ins" : part.removed ? "del" : "span");
  node.textContent = part.value;
  return node;
}

const findPair = (names) => names.split(" ").map((id) => document.getElementById(id));

function fillDiff(element) {
  element.replaceChildren(...diffTexts(...findPair(element.dataset.diff)).map(createNode));
}

function markPair(element) {
  const [before, after] = findPair(element.dataset.marks);
  const parts = diffTexts(before, after);
  before.replaceChildren(...parts.filter((part) => !part.added).map(createNode));
  after.replaceChildren(...parts.filter((part) => !part.removed).map(createNode));
}

const isObject = (value) => value !== null && typeof value === "object";

function parseJson(text) {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

const listKeys = (value) => JSON.stringify(value, (_, part) => (isObject(part) ? part : null));

function orderKeys(value, model) {
  if (!isObject(value) || !isObject(model) || Array.isArray(value)) return value;
  const keys = [...Object.keys(model).filter((key) => key in value), ...Object.keys(value)];
  return Object.fromEntries(keys.map((key) => [key, orderKeys(value[key], model[key])]));
}

// JSON with its keys in the other text's order, since only values count; any other text as it is.
function reorderLike(text, other) {
  const [value, model] = [parseJson(text), parseJson(other)];
  if (!isObject(value) || !isObject(model)) return text;
  const sorted = orderKeys(value, model);
  return listKeys(sorted) === listKeys(value) ? text : JSON.stringify(sorted);
}

// data-differs-from="ID": how this element's own text differs from another's, white space apart.
const own = new WeakMap();

function markDifferences(element) {
  if (!element.querySelector("ins, del")) own.set(element, element.textContent);
  const text = own.get(element);
  const expected = document.getElementById(element.dataset.differsFrom)?.textContent ?? "";
  element.replaceChildren(...diffWords(reorderLike(expected, text), text).map(createNode));
}

function fillAll(root) {
  root.querySelectorAll("[data-differs-from]").forEach(markDifferences);
  root.querySelectorAll("[data-diff]").forEach(fillDiff);
  root.querySelectorAll("[data-marks]").forEach(markPair);
}

fillAll(document);
document.addEventListener("htmx:afterSwap", (event) => fillAll(event.target));
