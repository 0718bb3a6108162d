// The new-job form: a preset fills in the number of steps.
document.addEventListener("click", (event) => {
  const button = event.target.closest?.("[data-steps]");
  if (!button) return;
  const field = button.closest("form").querySelector("[name=grpo__max_steps]");
  field.value = button.dataset.steps;
  field.dispatchEvent(new Event("change", { bubbles: true }));
});
