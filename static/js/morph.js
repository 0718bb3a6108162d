// Fragments that refresh by themselves are morphed (hx-swap="morph:outerHTML"): focus, open dialogs and
// unfolded details stay, and so does what a script wrote into the page.
import { Idiomorph } from "idiomorph/htmx";

const OWN_STATE = "dialog, details";
const WRITTEN_BY_SCRIPTS = "[data-live-status]";

Idiomorph.defaults.callbacks.beforeAttributeUpdated = (name, node) => !(name === "open" && node.matches(OWN_STATE));
Idiomorph.defaults.callbacks.beforeNodeMorphed = (old) => !old.matches?.(WRITTEN_BY_SCRIPTS);
