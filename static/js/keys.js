// Single-key shortcuts: off for those who turned them off on their account page (WCAG 2.1.4).
const FIELDS = "input, textarea, select, [contenteditable], .cm-editor, dialog";

// The key, or null where it means something else: in a field, with a modifier, or with single keys turned off.
export function singleKey(event) {
  const modified = event.ctrlKey || event.metaKey || event.altKey;
  const elsewhere = event.defaultPrevented || event.target.closest?.(FIELDS);
  return modified || elsewhere || document.body.dataset.singleKeys === "off" ? null : event.key;
}

const PLACES = {
  h: "/", d: "/datasets/", g: "/graders/", u: "/judges/", j: "/jobs/", m: "/models/", w: "/jobs/workers/", s: "/members/",
};
const PATIENCE_MS = 1000;
let began = -Infinity;

// g, then a letter: go to a page of the team.
function go(key) {
  const team = document.querySelector("[data-team-home]")?.dataset.teamHome;
  const place = performance.now() - began < PATIENCE_MS ? PLACES[key] : undefined;
  began = key === "g" && !place ? performance.now() : -Infinity;
  if (!team || !place) return false;
  location.assign(team.replace(/\/$/, "") + place);
  return true;
}

// j and k move through rows; Enter opens the row's link.
function move(step) {
  const links = [...document.querySelectorAll("[data-rows] a[data-row]")];
  if (!links.length) return;
  const place = links.indexOf(document.activeElement) + step;
  links[Math.max(0, Math.min(links.length - 1, place))].focus();
}

document.addEventListener("keydown", (event) => {
  const key = singleKey(event);
  if (key === null || go(key)) return;
  if (key === "j" || key === "k") move(key === "j" ? 1 : -1);
  if (key === "?") document.getElementById("shortcuts")?.showModal();
});
