// What has data-fold hides its parts on a phone, but for those of class fold-stays, until its button opens it.
document.addEventListener("click", (event) => {
  const button = event.target.closest?.("[data-fold-toggle]");
  if (!button) return;
  const open = button.closest("[data-fold]").toggleAttribute("data-open");
  button.setAttribute("aria-expanded", String(open));
});
