// Word differences: an element with data-diff="idA idB" shows how B differs from A.
import { diffWordsWithSpace } from "diff";

const TAGS = { added: "ins", removed: "del" };

function fill(element) {
  const [before, after] = element.dataset.diff.split(" ").map((id) => document.getElementById(id)?.textContent ?? "");
  const parts = diffWordsWithSpace(before, after).map((part) => {
    const tag = part.added ? TAGS.added : part.removed ? TAGS.removed : "span";
    const node = document.createElement(tag);
    node.textContent = part.value;
    return node;
  });
  element.replaceChildren(...parts);
}

const fillAll = (root) => root.querySelectorAll("[data-diff]").forEach(fill);
fillAll(document);
document.addEventListener("htmx:afterSwap", (event) => fillAll(event.target));
