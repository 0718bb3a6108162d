// The new-job form: a preset fills in its settings, a reset takes one back to what the cloned job had.
function fill(form, values) {
  let last = null;
  for (const [name, value] of Object.entries(values)) {
    const field = form.elements[name];
    if (!field) continue;
    if (field.type === "checkbox") field.checked = value === "on";
    else field.value = value;
    last = field;
  }
  last?.dispatchEvent(new Event("change", { bubbles: true }));
}

document.addEventListener("click", (event) => {
  const preset = event.target.closest?.("[data-preset]");
  if (preset) {
    event.preventDefault();
    for (const each of document.querySelectorAll("[data-preset]")) each.removeAttribute("aria-current");
    preset.setAttribute("aria-current", "true");
    fill(preset.closest("form"), JSON.parse(preset.dataset.preset));
  }
  const reset = event.target.closest?.("[data-reset]");
  if (reset) fill(reset.closest("form"), { [reset.dataset.reset]: reset.dataset.value });
});
