// Fragments that refresh by themselves are morphed (hx-swap="morph:outerHTML"): focus, open dialogs,
// unfolded details and ticks stay, and so does what a script wrote into the page.
import { Idiomorph } from "idiomorph/htmx";

const OWN_STATE = { open: "dialog, details", checked: "input" };
const WRITTEN_BY_SCRIPTS = "[data-live-status]";

Idiomorph.defaults.callbacks.beforeAttributeUpdated = (name, node) => !(name in OWN_STATE && node.matches(OWN_STATE[name]));
Idiomorph.defaults.callbacks.beforeNodeMorphed = (old) => !old.matches?.(WRITTEN_BY_SCRIPTS);
