// A link with data-key is also followed by that key: [ and ] turn from one match to the next.
import { readSingleKey } from "./keys.js";

document.addEventListener("keydown", (event) => {
  const key = readSingleKey(event);
  if (key !== null && !event.repeat) document.querySelector(`a[data-key="${CSS.escape(key)}"]`)?.click();
});
