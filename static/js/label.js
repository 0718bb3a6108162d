/* Keys of the labelling page: 1 to 5 label the answer, the left arrow and u go back. */
document.addEventListener("keydown", (event) => {
  const page = document.querySelector("[data-labelling]");
  if (!page || event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, textarea, select"))
    return;
  // A key held down, or pressed before the next answer is there, would label an answer nobody has read.
  if (event.repeat || page.querySelector(".htmx-request")) return;
  const wanted = event.key === "ArrowLeft" || event.key === "u" ? "[data-label-back]" : `[data-label="${CSS.escape(event.key)}"]`;
  page.querySelector(wanted)?.click();
});
