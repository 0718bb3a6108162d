/* Keys of the labelling page: 1 to 5 label the answer, the arrows and u go back and on. */
const PLACES = { ArrowLeft: "[data-label-back]", u: "[data-label-back]", ArrowRight: "[data-label-skip]" };

document.addEventListener("keydown", (event) => {
  const page = document.querySelector("[data-labelling]");
  if (!page || event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, textarea, select"))
    return;
  // A key held down, or pressed before the next answer is there, would label an answer nobody has read.
  if (event.repeat || page.querySelector(".htmx-request")) return;
  page.querySelector(PLACES[event.key] ?? `[data-label="${CSS.escape(event.key)}"]`)?.click();
});
