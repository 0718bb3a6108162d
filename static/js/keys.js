// Single-key shortcuts: off for those who turned them off on their account page (WCAG 2.1.4).
const FIELDS = "input, textarea, select, [contenteditable], .cm-editor, dialog";

// The key, or null where it means something else: in a field, with a modifier, or with single keys turned off.
export function readSingleKey(event) {
  const modified = event.ctrlKey || event.metaKey || event.altKey;
  const elsewhere = event.defaultPrevented || event.target.closest?.(FIELDS);
  return modified || elsewhere || document.body.dataset.singleKeys === "off" ? null : event.key;
}

const PATHS = {
  h: "/", d: "/datasets/", g: "/graders/", u: "/judges/", j: "/jobs/", m: "/models/", p: "/playground/", w: "/jobs/workers/", s: "/members/",
};
const PATIENCE_MS = 1000;
let began = -Infinity;

// g, then a letter: go to a page of the team.
function openPage(key) {
  const team = document.querySelector("[data-team-home]")?.dataset.teamHome;
  const path = performance.now() - began < PATIENCE_MS ? PATHS[key] : undefined;
  began = key === "g" && !path ? performance.now() : -Infinity;
  if (!team || !path) return false;
  location.assign(team.replace(/\/$/, "") + path);
  return true;
}

// j and k move through rows; Enter opens the row's link.
function moveFocus(step) {
  const links = [...document.querySelectorAll("[data-rows] a[data-row]")];
  if (!links.length) return;
  const index = links.indexOf(document.activeElement) + step;
  links[Math.max(0, Math.min(links.length - 1, index))].focus();
}

document.addEventListener("keydown", (event) => {
  const key = readSingleKey(event);
  if (key === null || openPage(key)) return;
  if (key === "j" || key === "k") moveFocus(key === "j" ? 1 : -1);
  if (key === "?") document.getElementById("shortcuts")?.showModal();
});
