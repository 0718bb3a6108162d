// The grader bench: shortcuts, and only the answer field that the chosen source needs.

function initBench(form) {
  const press = (event, selector) => {
    const button = form.querySelector(selector);
    if (!button) return;
    event.preventDefault();
    button.click();
  };
  form.addEventListener("keydown", (event) => {
    if (!(event.ctrlKey || event.metaKey)) return;
    if (event.key === "Enter") press(event, "[data-grader-run]");
    if (event.key === "s") press(event, "[data-grader-save]");
  });
  const choice = form.querySelector("[name=answers]");
  if (!choice) return;
  const show = () => {
    for (const part of form.querySelectorAll("[data-answers]")) {
      part.hidden = part.dataset.answers !== choice.value;
    }
  };
  choice.addEventListener("change", show);
  show();
}

for (const form of document.querySelectorAll("[data-grader-bench]")) initBench(form);
