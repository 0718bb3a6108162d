// An episode's turns: a search that hides the other turns, folding, and keys: n and p move, f folds.
import { readSingleKey } from "./keys.js";

const findParts = (episode) => [...episode.querySelectorAll("[data-turn]:not([hidden]) details")];

function labelFold(episode) {
  const parts = findParts(episode);
  const button = episode.querySelector("[data-episode-fold]");
  button.hidden = !parts.length;
  button.textContent = parts.some((part) => !part.open) ? "Unfold all" : "Fold all";
}

function foldAll(episode) {
  const parts = findParts(episode);
  const open = parts.some((part) => !part.open);
  for (const part of parts) part.open = open;
  labelFold(episode);
}

function searchTurns(input) {
  const episode = input.closest("[data-episode]");
  const sought = input.value.trim().toLowerCase();
  const turns = [...episode.querySelectorAll("[data-turn]")];
  for (const turn of turns) {
    turn.hidden = !turn.textContent.toLowerCase().includes(sought);
    if (!sought || turn.hidden) continue;
    for (const part of turn.querySelectorAll("details")) part.open = part.textContent.toLowerCase().includes(sought);
  }
  const found = turns.filter((turn) => !turn.hidden).length;
  episode.querySelector("[data-episode-found]").textContent = sought ? `${found} of ${turns.length} turns` : "";
  labelFold(episode);
}

function moveTurn(episode, step) {
  const turns = [...episode.querySelectorAll("[data-turn]:not([hidden])")];
  const index = turns.indexOf(document.activeElement?.closest("[data-turn]")) + step;
  turns[Math.max(0, Math.min(turns.length - 1, index))]?.focus();
}

const KEYS = { n: (episode) => moveTurn(episode, 1), p: (episode) => moveTurn(episode, -1), f: foldAll };

document.addEventListener("keydown", (event) => {
  const key = readSingleKey(event);
  const episode = document.activeElement?.closest("[data-episode]") ?? document.querySelector("[data-episode]");
  if (key !== null && episode) KEYS[key]?.(episode);
});
document.addEventListener("input", (event) => {
  if (event.target.matches?.("[data-episode-search]")) searchTurns(event.target);
});
document.addEventListener("click", (event) => {
  const button = event.target.closest?.("[data-episode-fold]");
  if (button) foldAll(button.closest("[data-episode]"));
});
// "toggle" does not bubble.
document.addEventListener("toggle", (event) => {
  const episode = event.target.closest?.("[data-episode]");
  if (episode) labelFold(episode);
}, true);

function showTools(root) {
  for (const tools of root.querySelectorAll("[data-episode-tools]")) {
    tools.hidden = false;
    labelFold(tools.closest("[data-episode]"));
  }
}

showTools(document);
document.addEventListener("htmx:afterSwap", (event) => showTools(event.target));
