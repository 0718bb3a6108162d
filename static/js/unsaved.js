// The editor's text until it is saved: said beside the button, kept by this browser tab, asked for before leaving.

export function guardText(form) {
  const text = form.querySelector("textarea[data-editor]");
  const mark = form.querySelector("[data-unsaved]");
  if (!mark) return; // nothing can be saved here
  const offer = form.querySelector("[data-draft]");
  const shown = !mark.hidden; // the server says so of text that it shows, but has not as a version
  const refused = mark.dataset.unsaved === "refused"; // and that it has nowhere
  const key = `draft ${location.pathname} ${text.name}`;
  const isChanged = () => refused || text.value !== text.defaultValue;
  const keepDraft = () => sessionStorage.setItem(key, text.value);
  const forgetDraft = () => {
    sessionStorage.removeItem(key);
    offer.hidden = true;
  };

  const kept = sessionStorage.getItem(key);
  offer.hidden = kept === null || kept === text.value;
  if (refused) keepDraft();

  text.addEventListener("input", () => {
    mark.hidden = !(shown || isChanged());
    if (isChanged()) keepDraft();
    else if (offer.hidden) sessionStorage.removeItem(key);
  });
  form.querySelector("[data-draft-restore]").addEventListener("click", () => {
    text.value = kept;
    text.dispatchEvent(new Event("replaced"));
    offer.hidden = true;
  });
  form.querySelector("[data-draft-drop]").addEventListener("click", forgetDraft);

  let leaving = false;
  form.addEventListener("submit", () => {
    leaving = true;
    forgetDraft();
  });
  addEventListener("beforeunload", (event) => {
    if (!leaving && isChanged()) event.preventDefault();
  });
}
