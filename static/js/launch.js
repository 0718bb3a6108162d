// The new-job form: a preset fills in its settings, a reset takes one back to what it was.
function fillForm(form, values) {
  let last = null;
  for (const [name, value] of Object.entries(values)) {
    const field = form.elements.namedItem(name);
    if (!field) continue;
    if (field.type === "checkbox") field.checked = value === "on";
    else field.value = value ?? "";
    last = field;
  }
  last?.dispatchEvent(new Event("change", { bubbles: true }));
}

function markPresets() {
  for (const preset of document.querySelectorAll("[data-preset]")) {
    const { elements } = preset.closest("form");
    const values = Object.entries(JSON.parse(preset.dataset.preset));
    const holds = values.every(([name, value]) => elements.namedItem(name)?.value === String(value ?? ""));
    if (holds) preset.setAttribute("aria-current", "true");
    else preset.removeAttribute("aria-current");
  }
}

document.addEventListener("click", (event) => {
  const preset = event.target.closest?.("[data-preset]");
  if (preset) {
    event.preventDefault();
    fillForm(preset.closest("form"), JSON.parse(preset.dataset.preset));
  }
  const reset = event.target.closest?.("[data-reset]");
  if (reset) fillForm(reset.closest("form"), { [reset.dataset.reset]: reset.dataset.value });
});
for (const kind of ["input", "change"]) document.addEventListener(kind, markPresets);
