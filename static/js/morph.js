// Fragments that refresh by themselves are morphed (hx-swap="morph:outerHTML"): focus, open dialogs,
// unfolded details and ticks stay, and so does what a script wrote into the page.
import { Idiomorph } from "idiomorph/htmx";

const OWN_STATE = {
  open: (node) => node.matches("dialog, details"),
  checked: (node) => node.matches("input"),
  value: (node) => node.matches("input, textarea") && node.value !== node.defaultValue, // typed, not yet sent
};
// Such an element needs an id: without one it could be morphed into a neighbour that is new, which would be lost.
const WRITTEN_BY_SCRIPTS = "[data-live-status]";

Idiomorph.defaults.callbacks.beforeAttributeUpdated = (name, node) => !OWN_STATE[name]?.(node);
Idiomorph.defaults.callbacks.beforeNodeMorphed = (old, fresh) =>
  !(old.matches?.(WRITTEN_BY_SCRIPTS) && fresh.matches?.(WRITTEN_BY_SCRIPTS));
