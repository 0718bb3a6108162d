// What every page does: htmx, theme, dialogs, copying, toasts, keys, live updates.
import htmx from "htmx.org";
import "./morph.js";
import "@github/relative-time-element";
import "./toasts.js";
import "./keys.js";
import "./palette.js";
import "./notify.js";
import "./scroll.js";
import "./live.js";
import "./busy.js";
import "./upload.js";
import "./sending.js";
import "./diff.js";
import "./label.js";
import "./turn.js";
import "./fold.js";
import "./episode.js";

window.htmx = htmx;

const findClosest = (event, selector) => event.target.closest?.(selector);

function toggleTheme() {
  const root = document.documentElement;
  const dark = root.dataset.theme
    ? root.dataset.theme === "dark"
    : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = dark ? "light" : "dark";
  localStorage.setItem("theme", root.dataset.theme);
  document.body.dispatchEvent(new CustomEvent("theme"));
}

matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => document.body.dispatchEvent(new CustomEvent("theme")));

async function copyText(button) {
  await navigator.clipboard.writeText(button.dataset.copy);
  const before = button.textContent;
  button.textContent = "Copied";
  setTimeout(() => (button.textContent = before), 1500);
}

document.addEventListener("click", (event) => {
  if (findClosest(event, "[data-theme-toggle]")) toggleTheme();
  const copied = findClosest(event, "[data-copy]");
  if (copied) copyText(copied);
  if (findClosest(event, "[data-dialog-close]")) findClosest(event, "dialog").close();
  const sheet = findClosest(event, "[data-dialog-open]");
  if (sheet) document.getElementById(sheet.dataset.dialogOpen).showModal();
  for (const menu of document.querySelectorAll("details[data-menu][open]")) if (!menu.contains(event.target)) menu.open = false;
});

// On a narrow screen the tabs are one line that scrolls; the current one is in view.
for (const tab of document.querySelectorAll(".tab-row [aria-current]")) {
  const row = tab.parentElement;
  row.scrollLeft = tab.offsetLeft - (row.clientWidth - tab.offsetWidth) / 2;
}

document.addEventListener("keydown", (event) => {
  const menu = event.key === "Escape" && document.querySelector("details[data-menu][open]");
  if (!menu) return;
  menu.open = false;
  menu.querySelector("summary").focus();
});
