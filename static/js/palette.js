// The command palette: a dialog whose results come from the server; without scripts, the search page.
import Combobox from "@github/combobox-nav";
import { readSingleKey } from "./keys.js";

const palette = document.getElementById("palette");
const input = palette?.querySelector("input");
const list = document.getElementById("palette-results");

function openPalette() {
  document.getElementById("sidebar")?.hidePopover?.();
  if (palette.open) return;
  palette.showModal();
  input.select();
  input.dispatchEvent(new CustomEvent("palette"));
}

if (/Mac|iP/.test(navigator.platform)) {
  for (const key of document.querySelectorAll("kbd")) key.textContent = key.textContent.replace("Ctrl", "⌘");
}

if (palette) {
  const combobox = new Combobox(input, list, { tabInsertsSuggestions: false, firstOptionSelectionMode: "active" });
  combobox.start();
  list.addEventListener("htmx:afterSwap", () => combobox.resetSelection());
  palette.addEventListener("click", (event) => event.target === palette && palette.close());
  document.addEventListener("click", (event) => {
    if (!event.target.closest?.("[data-palette-open]") || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    openPalette();
  });
  document.addEventListener("keydown", (event) => {
    const command = (event.ctrlKey || event.metaKey) && !event.shiftKey && !event.altKey && event.key.toLowerCase() === "k";
    if (!command && readSingleKey(event) !== "/") return;
    event.preventDefault();
    openPalette();
  });
}
