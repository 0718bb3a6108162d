// What every page does: htmx, theme, dialogs, copying, toasts, keys, live updates.
import htmx from "htmx.org";
import "./live.js";
import "./upload.js";
import "./diff.js";
import "./label.js";

window.htmx = htmx;

const closest = (event, selector) => event.target.closest?.(selector);

function toggleTheme() {
  const root = document.documentElement;
  const dark = root.dataset.theme
    ? root.dataset.theme === "dark"
    : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = dark ? "light" : "dark";
  localStorage.setItem("theme", root.dataset.theme);
  document.body.dispatchEvent(new CustomEvent("theme"));
}

async function copy(button) {
  await navigator.clipboard.writeText(button.dataset.copy);
  const before = button.textContent;
  button.textContent = "Copied";
  setTimeout(() => (button.textContent = before), 1500);
}

document.addEventListener("click", (event) => {
  if (closest(event, "[data-theme-toggle]")) toggleTheme();
  if (closest(event, "[data-dismiss]")) closest(event, "[data-toast]").remove();
  const copied = closest(event, "[data-copy]");
  if (copied) copy(copied);
  const opened = closest(event, "[data-confirm-open]");
  if (opened) opened.closest("[data-confirm]").querySelector("dialog").showModal();
  if (closest(event, "[data-confirm-close]")) closest(event, "dialog").close();
});

// j and k move through rows; Enter opens the row's link.
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, textarea, select, .cm-editor")) return;
  const links = [...document.querySelectorAll("[data-rows] a[data-row]")];
  const step = { j: 1, k: -1 }[event.key];
  if (!links.length || !step) return;
  const place = links.indexOf(document.activeElement) + step;
  links[Math.max(0, Math.min(links.length - 1, place))].focus();
});
